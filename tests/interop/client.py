"""Debian's python3-grpcio with stubs that protoc made of the schemas. Usage: client.py ADDRESS"""
import random
import struct
import sys

import grpc
import health_pb2
import status_pb2
from indexd.v1 import expungement_pb2, galleries_pb2, records_pb2, search_pb2, types_pb2

DIM = 48
ROWS = 300
EMBEDDER = types_pb2.Embedder(id="net-a", version="3")

channel = grpc.insecure_channel(sys.argv[1])


def method(service, name, request, response, kind="unary_unary"):
    return getattr(channel, kind)(
        f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )


create = method("indexd.v1.Galleries", "Create", galleries_pb2.CreateGalleryRequest, galleries_pb2.Gallery)
galleries = method("indexd.v1.Galleries", "List", galleries_pb2.ListGalleriesRequest, galleries_pb2.ListGalleriesResponse)
insert = method("indexd.v1.Records", "Insert", records_pb2.InsertRequest, records_pb2.InsertResponse)
insert_stream = method(
    "indexd.v1.Records", "InsertStream", records_pb2.InsertRequest, records_pb2.InsertAck, "stream_stream"
)
get = method("indexd.v1.Records", "Get", records_pb2.GetRecordsRequest, records_pb2.GetRecordsResponse)
search = method("indexd.v1.Search", "Search", search_pb2.SearchRequest, search_pb2.SearchResponse)
batch_search = method("indexd.v1.Search", "BatchSearch", search_pb2.BatchSearchRequest, search_pb2.BatchSearchResponse)
stream_search = method(
    "indexd.v1.Search", "StreamSearch", search_pb2.StreamSearchRequest, search_pb2.StreamSearchResponse, "stream_stream"
)
expunge = method("indexd.v1.Expungement", "Expunge", expungement_pb2.ExpungeRequest, expungement_pb2.ExpungeResponse)
watch_ticket = method(
    "indexd.v1.Expungement", "WatchTicket", expungement_pb2.GetTicketRequest, expungement_pb2.Ticket, "unary_stream"
)
health = method("grpc.health.v1.Health", "Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)

rng = random.Random(20260101)
rows = [[rng.gauss(0, 1) for _ in range(DIM)] for _ in range(ROWS)]


def packed(row):
    return struct.pack(f"<{DIM}f", *row)


def record(i):
    return records_pb2.NewRecord(
        record=types_pb2.Record(
            record_id=f"py-{i:04}", subject_id=f"s{i // 3}", arrest_id=f"a{i // 2}", captured_at_us=i + 1
        ),
        # Both forms of an embedding.
        embedding=types_pb2.Embedding(f32le=packed(rows[i])) if i % 2 else types_pb2.Embedding(values=rows[i]),
    )


def request_of(first, n, **more):
    return records_pb2.InsertRequest(
        gallery="python", records=[record(i) for i in range(first, first + n)], embedder=EMBEDDER, **more
    )


def probe(i, **options):
    return search_pb2.SearchRequest(
        gallery="python",
        probe=types_pb2.Embedding(f32le=packed(rows[i]), embedder=EMBEDDER),
        options=search_pb2.SearchOptions(**options),
    )


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def refused(call, code, reason):
    """The call fails with this code, and its google.rpc details say why."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        details = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
        status = status_pb2.Status.FromString(details[0])
        assert status.code == code.value[0] and status.message == error.details(), status
        assert status.details[0].type_url == "type.googleapis.com/google.rpc.ErrorInfo", status
        info = status_pb2.ErrorInfo.FromString(status.details[0].value)
        assert (info.reason, info.domain) == (reason, "indexd"), info
        return
    raise AssertionError("it was not refused")


def check_create():
    request = galleries_pb2.CreateGalleryRequest(name="python", dim=DIM, embedder=EMBEDDER, engine="flat")
    assert create(request).dim == DIM
    assert create(request).name == "python"
    assert "python" in [g.name for g in galleries(galleries_pb2.ListGalleriesRequest()).galleries]
    request.dim = DIM + 1
    refused(lambda: create(request), grpc.StatusCode.ALREADY_EXISTS, "EXISTS")


def check_insert():
    reply = insert(request_of(0, 100, request_id="r-1"))
    assert (reply.enrolled, reply.unchanged) == (100, 0) and reply.epoch > 0
    assert insert(request_of(0, 100, request_id="r-1")) == reply
    assert insert(request_of(0, 100)).unchanged == 100


def check_insert_stream():
    acks = list(insert_stream(request_of(i, 10) for i in range(100, ROWS, 10)))
    assert acks[-1].messages == 20 and acks[-1].enrolled == 200, acks
    assert [a.messages for a in acks] == sorted(a.messages for a in acks)


def check_get():
    reply = get(records_pb2.GetRecordsRequest(gallery="python", record_ids=["py-0007", "none"], with_embedding=True))
    assert len(reply.records) == 1 and reply.records[0].record.captured_at_us == 8
    stored = struct.unpack(f"<{DIM}f", reply.records[0].f32le)
    assert abs(cosine(stored, rows[7]) - 1) < 1e-6 and abs(sum(x * x for x in stored) - 1) < 1e-5


def check_search():
    reply = search(probe(5, k=20))
    best = sorted(((cosine(rows[5], row), i) for i, row in enumerate(rows)), reverse=True)[:20]
    assert [c.record_id for c in reply.candidates] == [f"py-{i:04}" for _, i in best]
    assert all(abs(c.cosine - score) < 1e-6 for c, (score, _) in zip(reply.candidates, best))
    assert [c.rank for c in reply.candidates] == list(range(1, 21))
    assert reply.stats.exhaustive and "trained human" in reply.notice
    assert all(c.cosine >= 0.2 for c in search(probe(5, min_cosine=0.2)).candidates)


def check_batch_and_stream_search():
    request = search_pb2.BatchSearchRequest(
        gallery="python",
        probes=[types_pb2.Embedding(values=rows[i], embedder=EMBEDDER) for i in range(10)],
        options=search_pb2.SearchOptions(k=3),
    )
    found = [r.candidates[0].record_id for r in batch_search(request).results]
    assert found == [f"py-{i:04}" for i in range(10)]
    requests = [search_pb2.StreamSearchRequest(tag=i, request=probe(i, k=1)) for i in range(10)]
    requests[4].request.gallery = "nowhere"
    answers = list(stream_search(iter(requests)))
    assert [a.tag for a in answers] == list(range(10))
    assert answers[4].error.reason == "NOT_FOUND" and answers[4].error.code == 5
    assert answers[9].response.candidates[0].record_id == "py-0009"


def check_expunge():
    request = expungement_pb2.ExpungeRequest(
        gallery="python",
        kind=expungement_pb2.ID_KIND_ARREST,
        ids=["a3"],
        order_ref="order 1",
        expected_count=3,
    )
    refused(lambda: expunge(request), grpc.StatusCode.ABORTED, "COUNT")
    request.expected_count = 2
    reply = expunge(request)
    assert reply.records == 2 and reply.ticket.state == expungement_pb2.TICKET_STATE_ACCEPTED
    after = search(probe(6, k=1000, read_after_epoch=reply.epoch))
    assert not {"py-0006", "py-0007"} & {c.record_id for c in after.candidates}
    assert len(after.candidates) == ROWS - 2
    refused(lambda: insert(request_of(6, 1)), grpc.StatusCode.FAILED_PRECONDITION, "EXPUNGED")
    states = list(watch_ticket(expungement_pb2.GetTicketRequest(ticket_id=reply.ticket.ticket_id)))
    assert states[-1].state == expungement_pb2.TICKET_STATE_VERIFIED
    assert states[-1].verified_at_us >= states[-1].erased_at_us >= states[-1].unlinked_at_us > 0


def check_refusals():
    refused(lambda: search(probe(1, k=1001)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID")
    other = probe(1)
    other.probe.embedder.version = "4"
    refused(lambda: search(other), grpc.StatusCode.FAILED_PRECONDITION, "EMBEDDER")
    other = probe(1)
    other.gallery = "nowhere"
    refused(lambda: search(other), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    refused(lambda: search(probe(1, read_after_epoch=10**9)), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    broken = iter([request_of(10, 10), request_of(0, 0)])
    refused(lambda: list(insert_stream(broken)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID")


def check_health():
    for service in ["", "indexd.v1.Search", "gallery/python"]:
        reply = health(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    refused(lambda: health(health_pb2.HealthCheckRequest(service="x")), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


for check in [
    check_create,
    check_insert,
    check_insert_stream,
    check_get,
    check_search,
    check_batch_and_stream_search,
    check_expunge,
    check_refusals,
    check_health,
]:
    name = check.__name__[len("check_") :].replace("_", " ")
    try:
        check()
        print(f"ok python: {name}")
    except Exception as error:  # whatever it is, it is this check's failure
        print(f"FAIL python: {name}: {type(error).__name__} {' '.join(str(error).split())[:300]}")
channel.close()
print("done")
