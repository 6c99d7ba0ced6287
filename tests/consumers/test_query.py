"""What the address of a WebSocket asks for: a preset, and the past with it."""

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase

from metrics_stream.broadcast import broadcast, broadcast_agent_metrics, broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.defaults.seed import seed
from metrics_stream.models import ClientPreset
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.clients import connected


class PresetTests(TransactionTestCase):
    """Presets need the database, which only Django's own test cases clean up behind async code."""

    async def test_a_preset_is_in_force_from_the_start(self):
        await ClientPreset.objects.acreate(
            name="One agent", slug="one-agent", metric_types=["agent"], agent_ids=["a"], fields=["status"],
            sources=[], interval_seconds=0.1, batch_size=5, batch_timeout_seconds=0.2, mode="latest",
        )  # fmt: skip
        async with connected("/ws/metrics/?preset=one-agent") as client:
            assert client.welcome["subscription"] == {
                "metric_types": ["agent"],
                "filters": {"agent_ids": ["a"], "fields": ["status"]},
                "interval_seconds": 0.1,
                "batch_size": 5,
                "batch_timeout_seconds": 0.2,
                "mode": "latest",
                "preset": "one-agent",
            }
            await client.ask({"type": "subscribe", "metric_types": ["agent"]})
            await broadcast_agent_metrics([{"agent_id": "a", "status": "healthy", "x": 1}, {"agent_id": "b"}])
            frame = await client.hear()
            assert frame["data"]["data"] == [{"agent_id": "a", "status": "healthy"}]
        await stop_runtime()

    async def test_the_preset_original_acts_as_the_original_did(self):
        await sync_to_async(seed)()
        declare_server()
        await broadcast("system", {"n": 0})
        async with connected("/ws/metrics/?preset=original") as client:
            assert client.welcome["subscription"] == {
                "metric_types": ["system", "agent", "business", "hero", "presentation", "request", "error"],
                "filters": {},
                "interval_seconds": 1.0,
                "batch_size": 1,
                "batch_timeout_seconds": 0.5,
                "mode": "all",
                "preset": "original",
            }
            message = {"type": "subscribe", "metric_types": ["system", "agent", "business"]}
            assert (await client.ask(message))["type"] == "subscription_confirmed"
            await client.ask({"type": "set_update_interval", "interval_seconds": 0.1})
            for number in (1, 2):
                await broadcast_many(
                    [
                        {"metric_type": "system", "data": {"n": number}},
                        {"metric_type": "agent", "data": [{"agent_id": "a", "n": number}]},
                        {"metric_type": "business", "data": {"n": number}},
                    ]
                )
            frames = [await client.hear() for _ in range(6)]
            assert {frame["type"] for frame in frames} == {"metric_update"}
            assert not any(frame.get("replayed") for frame in frames)
            assert sorted(frame["data"]["metric_type"] for frame in frames) == sorted(
                2 * ["system", "agent", "business"]
            )
            of_system = [frame["data"]["data"] for frame in frames if frame["data"]["metric_type"] == "system"]
            assert of_system == [{"n": 1}, {"n": 2}]
        await stop_runtime()

    async def test_an_unknown_preset_gets_an_error_and_the_default_is_in_force(self):
        for slug in ("nope", "%00", "a" * 500):
            async with connected(f"/ws/metrics/?preset={slug}") as client:
                assert client.welcome["subscription"]["preset"] is None
                error = await client.hear()
                assert error["code"] in {"unknown_preset", "internal"}
                assert (await client.ask({"type": "ping"}))["type"] == "pong"
        await stop_runtime()

    async def test_a_broken_preset_gets_an_error_and_the_default_is_in_force(self):
        await ClientPreset.objects.acreate(name="Broken", slug="broken", metric_types={"a": 1}, agent_ids=[1, {}])
        async with connected("/ws/metrics/?preset=broken") as client:
            error = await client.hear()
            assert error["code"] == "unknown_preset"
            assert "is broken" in error["message"]
        await stop_runtime()

    async def test_a_value_in_the_address_that_is_not_a_number_gets_an_error(self):
        await ClientPreset.objects.acreate(name="System", slug="system", metric_types=["system"])
        for said in ("max_points=nan", "max_points=inf", "backfill_seconds=nan", "backfill_seconds=soon"):
            async with connected(f"/ws/metrics/?preset=system&{said}") as client:
                assert client.welcome["subscription"]["preset"] is None
                error = await client.hear()
                assert error["code"] == "invalid_message"
                assert "they must be numbers" in error["message"]
        await stop_runtime()
