"""Starts the server of the XGBoost image; the tag of the image is the one argument.

gunicorn with threads: a ping is answered while predictions run, since the library lets go of Python's lock. The modules are in
packages of their own (``xgboost_serving``, and ``user_modules`` for scripts), so that no script meets one of ours by its name.
"""

import logging
import os
import sys
from pathlib import Path

from xgboost_serving import source, tags
from xgboost_serving import variables as environment

HERE = Path(__file__).resolve().parent
KEEP_ALIVE_S = 75
THREADS = 64
GRACE_S = 25
CODE_VARIABLE = "XGBOOST_SERVING_CODE"
"""Names the script's directory to the interpreter that has its requirements: this program starts once more, in that one."""


def main(tag_text):
    """Serve until SIGTERM. Ends with a sentence if it cannot start."""
    try:
        tag = tags.tag_of(tag_text)
        variables = environment.read(os.environ, tag)
        code = _code(variables) if variables.program else None
    except (ValueError, environment.Wrong, source.NoSource) as error:
        sys.exit(f"cannot start: {error}")
    os.environ.setdefault("SM_MODEL_DIR", str(variables.model_dir))
    logging.basicConfig(level=variables.log_level, format="%(asctime)s %(levelname)s - %(name)s - %(message)s")
    app, models = _app(tag, variables, code)
    _serve(app, models, variables)


def _code(variables):
    """The directory of the user's script, in an interpreter that has what it needs."""
    if CODE_VARIABLE in os.environ:
        return Path(os.environ[CODE_VARIABLE])
    code = source.fetch(variables)
    python = source.interpreter(code, variables)
    if python != sys.executable:
        os.environ[CODE_VARIABLE] = str(code)
        sys.stdout.flush()
        os.execv(python, [python, *sys.argv])  # noqa: S606
    return code


def _app(tag, variables, code):
    if code is None:
        from xgboost_serving import algorithm  # noqa: PLC0415 - not before the right interpreter runs

        return algorithm.create_app(tag, variables)
    sys.dont_write_bytecode = True  # the script may lie among model data, which is shared
    sys.path[0:1] = []  # the directory of this program
    sys.path.append(str(HERE / "user_modules"))
    from xgboost_serving import script  # noqa: PLC0415 - likewise

    return script.create_app(variables, code)


def _serve(app, models, variables):
    import gunicorn.app.base  # noqa: PLC0415 - likewise
    import xgboost  # noqa: PLC0415

    def warm_up(_worker):
        try:
            models()
        except Exception as error:
            print(f"Unable to load model: {error}", file=sys.stderr, flush=True)

    class Server(gunicorn.app.base.BaseApplication):
        """gunicorn with our settings in place of a command line's."""

        def load_config(self):
            """Called by gunicorn for its settings."""
            self.cfg.set("bind", f"{os.environ.get('SERVING_ADDRESS', '127.0.0.1')}:{variables.port}")
            self.cfg.set("workers", variables.workers)
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", THREADS)
            self.cfg.set("keepalive", KEEP_ALIVE_S)
            # OURS: no time limit of its own (the container has 60 s, or SAGEMAKER_MODEL_SERVER_TIMEOUT): the platform has one.
            self.cfg.set("timeout", 0)
            self.cfg.set("graceful_timeout", GRACE_S)
            self.cfg.set("control_socket_disable", True)
            self.cfg.set("proc_name", "sagemaker-xgboost")
            self.cfg.set("post_worker_init", warm_up)

        def load(self):
            """Called by gunicorn for the application."""
            return app

    mode = f"script mode ({variables.program})" if variables.program else "algorithm mode"
    print(f"sagemaker-xgboost {sys.argv[1]} on XGBoost {xgboost.__version__}, {mode}", flush=True)
    Server().run()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: serve.py TAG")
    main(sys.argv[1])
