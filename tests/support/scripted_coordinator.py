"""A coordinator process whose model says what a script says: `python -m tests.support.scripted_coordinator`.

Everything but the model is real. It prints its base URL and serves until its standard input ends.
"""

from jangtq_coordinator.api.app import create_app
from jangtq_coordinator.cli.serve import listen, run_server, server_config
from jangtq_coordinator.config import ServeSettings
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from tests.support.agent_script import reply
from tests.support.tiny_model import ScriptedModel, loader


def main() -> None:
    engine = Engine(
        loader(new_model=lambda: ScriptedModel(reply), context_length=8192), settings=EngineSettings()
    )
    engine.start()
    with listen(ServeSettings(port=0)) as listener:
        listener.listen()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = server_config(create_app(engine), ServeSettings())
        run_server(config, listener, engine=engine, watch_stdin=True)
    engine.stop()


if __name__ == "__main__":
    main()
