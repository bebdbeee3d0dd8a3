"""What is said when a stage stops because its position is outside of its log."""

from confluent_kafka import Consumer, Message, TopicPartition

from streams.engine.raw_record import offset_of, partition_of
from streams.errors import RefusedError

_BOUNDS_ASKED_S = 5.0


def out_of_range(consumer: Consumer, answer: Message, *, group: str) -> RefusedError:
    """Why, and what there is to do; the stage never jumps by itself, for that would lose or repeat silently.

    Args:
        consumer: asks where the log starts and ends.
        answer: the broker's to a position that the log has not.
        group: of the consumer; its last word is the stage.

    Raises:
        KafkaException: the broker has gone since.
    """
    topic, partition, position = answer.topic(), partition_of(answer), offset_of(answer)
    assert topic is not None
    start, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), _BOUNDS_ASKED_S)
    if position < start:
        why = f"up to {start - position} records were deleted, by retention or by somebody, before they were settled"
    elif position > end:
        why = "the topic was deleted and created anew, or a broker has lost records that it had acknowledged"
    else:
        why = "the log had not come so far a moment ago: start the worker again"
    return RefusedError(
        f"{group} stops: its position in {topic} partition {partition} is {position}, and the log is from {start} to"
        f" {end}: {why}. Nothing was skipped. `memstream verify` names every such position; docs/commands.md (verify)"
        " says how the stage goes on"
    )
