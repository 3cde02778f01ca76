"""Which lane a corp belongs to: Kafka's murmur2 of its id, as every partitioner of the product."""

MASK = 0xFFFFFFFF
M = 0x5BD1E995


def murmur2(data):
    """As org.apache.kafka.common.utils.Utils.murmur2, an unsigned number."""
    length = len(data)
    h = (0x9747B28C ^ length) & MASK
    for at in range(0, length - length % 4, 4):
        k = int.from_bytes(data[at:at + 4], "little") * M & MASK
        k = (k ^ (k >> 24)) * M & MASK
        h = (h * M & MASK) ^ k
    tail = data[length - length % 4:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * M & MASK
    h = (h ^ (h >> 13)) * M & MASK
    return h ^ (h >> 15)


def lane_of(corp, lanes):
    return (murmur2(corp.encode()) & 0x7FFFFFFF) % lanes
