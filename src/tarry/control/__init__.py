"""Makes what is current match what is desired: commands write desires, the reconciler acts on them."""
