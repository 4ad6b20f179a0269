import asyncio
import threading

import pytest

from udair_platform.serving.batcher import MicroBatcher


def test_items_that_arrive_together_are_processed_together_and_one_bad_item_fails_alone():
    batches: list[list[int]] = []

    def process(items):
        batches.append(list(items))
        return [ValueError("odd one out") if item == 3 else item * 10 for item in items]

    async def scenario():
        batcher = MicroBatcher(process, max_items=4, window_s=0.2)
        return await asyncio.gather(*(batcher.submit(item) for item in range(6)), return_exceptions=True)

    answers = asyncio.run(scenario())
    assert [len(batch) for batch in batches] == [4, 2]
    assert isinstance(answers[3], ValueError)
    assert [a for i, a in enumerate(answers) if i != 3] == [0, 10, 20, 40, 50]


def test_the_loop_outlives_a_batch_that_raises():
    def process(items):
        if "bad" in items:
            raise RuntimeError("the whole batch")
        return items

    async def scenario():
        batcher = MicroBatcher(process, max_items=1)
        with pytest.raises(RuntimeError, match="the whole batch"):
            await batcher.submit("bad")
        return await batcher.submit("good")

    assert asyncio.run(scenario()) == "good"


def test_a_caller_that_went_away_costs_nothing():
    seen: list[int] = []
    gate = threading.Event()

    def process(items):
        gate.wait(5)
        seen.extend(items)
        return items

    async def scenario():
        batcher = MicroBatcher(process, max_items=1, window_s=0)
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(batcher.submit(2))
        last = asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0.05)
        gone.cancel()
        gate.set()
        return await first, await last

    assert asyncio.run(scenario()) == (1, 3)
    assert seen == [1, 3]
