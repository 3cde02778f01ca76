"""Asks a Kafka cluster who leads a partition and whether all copies are in step.

  from leaders import in_sync, leader
  cluster.kill(leader(cluster.bootstrap_servers, "tidegate.events", 0))
  cluster.restart(...)
  while not in_sync(cluster.bootstrap_servers):
      time.sleep(0.1)

The answer is what one broker knows. It lags behind: a killed broker still counts as leader and as
in sync until its session ends, 3 s after the kill. So wait for a *change* after a kill, and ask
in_sync only after restart() has returned.
Needs Debian's python3-confluent-kafka; KafkaUnavailable if it is missing.
"""

import sys

from jars import KafkaError, KafkaUnavailable

DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"
ANSWER_SECONDS = 10


def leader(bootstrap, topic, partition, seconds=ANSWER_SECONDS):
    """The id of the node that leads; None while nobody does. KafkaError if there is no such."""
    topics = _metadata(bootstrap, seconds, topic).topics
    if topic not in topics or topics[topic].error is not None:
        raise KafkaError(f"{bootstrap} has no topic {topic}: create it first, or ask again if it "
                         "was created this moment")
    partitions = topics[topic].partitions
    if partition not in partitions:
        raise KafkaError(f"topic {topic} has partitions {sorted(partitions)}, not {partition}")
    node = partitions[partition].leader
    return node if node >= 0 else None


def in_sync(bootstrap, seconds=ANSWER_SECONDS):
    """Whether every partition of every topic has a leader and all its copies in step."""
    return not behind(bootstrap, seconds)


def behind(bootstrap, seconds=ANSWER_SECONDS):
    """[(topic, partition)] of what in_sync() misses, sorted."""
    return sorted((topic.topic, partition.id)
                  for topic in _metadata(bootstrap, seconds).topics.values()
                  for partition in topic.partitions.values()
                  if partition.leader < 0 or set(partition.isrs) != set(partition.replicas))


def _metadata(bootstrap, seconds, topic=None):
    library = client_library()
    from confluent_kafka import KafkaException
    client = library.AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return client.list_topics(topic, timeout=seconds)
    except KafkaException as error:
        raise KafkaError(f"{bootstrap} did not answer within {seconds} s ({error}): "
                         "./dev kafka status says which nodes live") from None


def client_library():
    """The module confluent_kafka.admin, also for a Python that is not Debian's own."""
    try:
        from confluent_kafka import admin
        return admin
    except ImportError:
        sys.path.append(DEBIAN_PACKAGES)
    try:
        from confluent_kafka import admin
        return admin
    except ImportError:
        raise KafkaUnavailable("this Python has no confluent_kafka; "
                               "apt-get install python3-confluent-kafka") from None
    finally:
        sys.path.remove(DEBIAN_PACKAGES)
