"""Four services as processes of their own, two of each, over a real Kafka and mutual TLS.

One deployment serves the whole file, and every test leaves it whole. Where Kafka or a package is
missing: one SKIPPED line and exit code 77. With TIDEGATE_KEEP set, files and logs stay in /tmp.
"""

import concurrent.futures
import glob
import http.client
import itertools
import json
import os
import signal
import ssl
import sys
import threading
import time
import unittest
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "kafka"), os.path.join(ROOT, "tests", "judge")]

import kafka_journals  # noqa: E402

try:
    from deployment_fixture import (CORP_A, CORP_B, MEMBERS, PROCESS_ID, REPLICAS, SHOP_ID,
                                    Authority, Deployment, http_get, wait_for)
    from grpc_caller import Caller
except kafka_journals.Unavailable as missing:
    print(f"SKIPPED processes_test: {missing}")
    sys.exit(77)

import needs_kafka  # noqa: E402

EXIT_FENCED = 75
EXIT_USAGE = 2
NOBODY = "wwnobody"
OWNERS = {CORP_A: 0, CORP_B: 1}  # the replica of dispatch that owns the corp's lane
CUSTOMERS = 2 * MEMBERS
RICH = 10  # so many of them have two orders
SOME = range(RICH - 4, RICH + 4)
AUDIENCE = "orders.sum >= 50.00 and orders.sum < 900.00"

deployment = None
unreachable = None  # a process that looks for a Kafka where none is; that takes its time


def setUpModule():
    global deployment, unreachable
    deployment = Deployment()
    unittest.addModuleCleanup(lambda: deployment.close(keep="TIDEGATE_KEEP" in os.environ))
    deployment.start()
    unreachable = start_unreachable("unreachable")
    for corp in OWNERS:
        publish(corp, 0, "setup", [
            event for number in range(CUSTOMERS)
            for event in customer_events(f"wm{corp}{number}", f"m{number % MEMBERS}",
                                         [5000] * (2 if number < RICH else 1))])


def start_unreachable(name):
    return deployment.processes.start(name, [
        os.path.join(os.environ["TIDEGATE_BIN"], "tidegate-tagging"), "--config",
        deployment.config, "--replica", "0/2", "--set", "listen.admin=127.0.0.1:0",
        "--set", "log.kafka.bootstrap_servers=127.0.0.1:1"])


def log_of(name):
    with open(os.path.join(deployment.folder, name + ".log"), encoding="utf-8") as file:
        return file.read()


def customer_events(customer, owner, orders_fen):
    common = {"customer": customer, "event_time": "2026-01-02T03:04:05Z"}
    yield {**common, "event_id": customer, "customer_imported": {"owner": owner}}
    for number, fen in enumerate(orders_fen):
        order = f"{customer}-{number}"
        yield {**common, "event_id": order,
               "order_paid": {"order_id": order, "amount": {"amount_fen": fen}}}


def publish(corp, ordinal, source, events):
    response = deployment.operator.ask(deployment.address("ingestion", ordinal),
                                       "BatchPublishEvents", corp=corp, source=source,
                                       events=list(events))
    assert all(result.code == 0 for result in response.results), response


def request_id():
    return str(uuid.uuid4())


def for_each_corp(check):
    """At the same time, since most of it is waiting."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for checked in [pool.submit(check, corp) for corp in OWNERS]:
            checked.result()


def methods_of(service):
    return [method for method in deployment.api.methods if method.service == service]


def hop(ordinal, caller=PROCESS_ID):
    """What a replica adds when it passes a call on to another."""
    return (("tidegate-hop", f"{ordinal}/{REPLICAS}"), ("tidegate-caller", caller))


class DeploymentTest(unittest.TestCase):
    def assertRefused(self, answer, code, reason):
        self.assertEqual((answer.code, answer.reason), (code, reason), answer)

    def assertRepeatable(self, answer, *reasons):
        """UNAVAILABLE, and the caller is told so in full."""
        self.assertEqual((answer.code, answer.retry, answer.responses), ("UNAVAILABLE", True, []),
                         answer)
        self.assertIn(answer.reason, reasons or [
            "REPLICA_UNAVAILABLE", "LANE_NOT_READY", "SHARD_NOT_READY", "DEFINITIONS_NOT_READ"])


    def assertSoonCounted(self):
        """The right count, and until then the advice to ask again."""
        def counted():
            answer = deployment.operator.call(
                deployment.address("segmentation", 0), deployment.api.method("CountCustomers"),
                corp=CORP_B, expression=AUDIENCE)
            if answer.code != "OK":
                self.assertRepeatable(answer)
            return answer.code == "OK" and answer.response

        self.assertEqual(wait_for(counted, "an answer").count, CUSTOMERS)


class IsolationTest(DeploymentTest):
    def requests(self, method, corp):
        return (deployment.api.good_request(method, corp),
                deployment.api.request(method, {"corp": corp}))

    def everywhere(self, check):
        """check(method, address, ordinal) for every method at every replica."""
        for method, ordinal in itertools.product(deployment.api.methods, range(REPLICAS)):
            with self.subTest(method=method.name, replica=ordinal):
                check(method, deployment.address(method.service, ordinal), ordinal)

    def test_a_foreign_corp_is_as_one_that_is_not_there(self):
        seen = set()

        def check(method, address, _):
            for corp in (CORP_B, NOBODY, ""):
                for request in self.requests(method, corp):
                    answer = deployment.shop.call(address, method, request, first=True)
                    self.assertRefused(answer, "NOT_FOUND", "CORP_NOT_FOUND")
                    self.assertEqual(answer.responses, [])
                    seen.add(answer.status)

        self.everywhere(check)
        self.assertEqual(len(seen), 1, seen)

    def test_the_own_corp_is_there(self):
        def check(method, address, _):
            for request in self.requests(method, CORP_A):
                answer = deployment.shop.call(address, method, request, first=True)
                self.assertNotIn(answer.reason, ["CORP_NOT_FOUND", "REPLICAS_DIFFER"], answer)
                self.assertIn(answer.code, ["OK", "INVALID_ARGUMENT", "ALREADY_EXISTS",
                                            "FAILED_PRECONDITION", "NOT_FOUND",
                                            "RESOURCE_EXHAUSTED"], answer)

        self.everywhere(check)

    def test_forged_metadata_gives_nothing(self):
        def check(method, address, ordinal):
            plain = deployment.shop.call(address, method, corp=CORP_B)
            for forged in (hop(ordinal), hop(1 - ordinal), hop(ordinal)[1:]):
                for request in self.requests(method, CORP_B):
                    answer = deployment.shop.call(address, method, request, metadata=forged,
                                                  first=True)
                    self.assertEqual(answer.status, plain.status)
                    self.assertEqual(answer.reason, "CORP_NOT_FOUND")

        self.everywhere(check)

    def test_the_journal_names_who_called_first(self):
        other = deployment.address("dispatch", 1 - OWNERS[CORP_A])
        ids = [request_id() for _ in range(3)]
        forged = hop(0, "spiffe://tidegate/forged")
        draft = {"campaign_id": "audit", "audience_expression": "orders.count >= 1000000",
                 "variants": [{"text": "t", "link_url": "http://x", "link_title": "t"}]}
        ask = deployment.shop.ask
        ask(other, "CreateCampaign", corp=CORP_A, campaign=draft, request_id=ids[0])
        ask(other, "LaunchCampaign", corp=CORP_A, campaign_id="audit", request_id=ids[1],
            metadata=forged[1:])
        ask(deployment.address("tagging", 0), "PutRule", corp=CORP_A, request_id=ids[2],
            rule={"rule_id": "audit", "condition": "all", "tags": ["probe"]}, metadata=forged)
        self.assertEqual(self.callers_in_journal(ids), {each: SHOP_ID for each in ids})

    def callers_in_journal(self, ids):
        found = {}
        source = kafka_journals.KafkaSource(deployment.cluster.bootstrap_servers,
                                            kafka_journals.Schema())

        def note(_, record):
            if record["value"].get("request_id") in ids:
                found[record["value"]["request_id"]] = record["value"]["caller"]

        source.read("definitions", note)
        source.close()
        return found

    def test_a_certificate_without_a_row_finds_no_corp(self):
        for name, names in (("nameless", "DNS:shop.example"), ("stranger", "URI:spiffe://x/y"),
                            ("double", f"URI:{SHOP_ID},URI:{PROCESS_ID}")):
            caller = deployment.caller(name, names)
            self.everywhere(lambda method, address, _, who=caller: self.assertRefused(
                who.call(address, method, corp=CORP_A), "NOT_FOUND", "CORP_NOT_FOUND"))
            caller.close()

    def test_without_a_good_certificate_nobody_comes_in(self):
        wrong = Authority(deployment.folder, "wrong-ca")
        ca = deployment.authority.ca
        strangers = {"no certificate": Caller(deployment.api, ca),
                     "plaintext": Caller(deployment.api),
                     "wrong authority": deployment.caller("wrong", f"URI:{SHOP_ID}", wrong),
                     "does not trust the server": Caller(
                         deployment.api, wrong.ca, *deployment.authority.issue("good", "DNS:x"))}
        for what, caller in strangers.items():
            for service, ordinal, address in deployment.every_address():
                with self.subTest(what, service=service, replica=ordinal):
                    answer = caller.call(address, methods_of(service)[0], corp=CORP_A)
                    self.assertEqual((answer.code, answer.details), ("UNAVAILABLE", b""))
            caller.close()

    def test_the_command_line_client_has_a_certificate_too(self):
        code, out, err = deployment.run(
            "tidegate", "segment", "count", AUDIENCE, "--corp", CORP_B, "--output", "json",
            "--grpc", "segmentation=" + deployment.address("segmentation", 1),
            *deployment.tls_flags)
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["count"], CUSTOMERS)


class ForwardingTest(DeploymentTest):
    def addresses(self, corp):
        """(of the owner, of the other)."""
        return (deployment.address("dispatch", OWNERS[corp]),
                deployment.address("dispatch", 1 - OWNERS[corp]))

    def test_the_other_replica_answers_every_method_as_the_owner(self):
        for_each_corp(self.check_every_method)

    def check_every_method(self, corp):
        for method in methods_of("dispatch"):
            for request in (deployment.api.good_request(method, corp),
                            deployment.api.request(method, {"corp": corp})):
                wait_for(lambda m=method, r=request: self.same_answer(corp, m, r),
                         f"the same answer of both for {method.name} of {corp}")

    def same_answer(self, corp, method, request):
        """False if the owner's own answer changes meanwhile."""
        owner, other = self.addresses(corp)
        first, between, last = (
            deployment.operator.call(address, method, request, first=method.streams)
            for address in (other, owner, other))
        self.assertNotIn(first.code, ["UNAVAILABLE", "UNKNOWN", "INTERNAL"], first)
        return first == between == last

    def test_a_campaign_by_both_replicas(self):
        for_each_corp(self.run_campaign)

    def run_campaign(self, corp):
        owner, other = self.addresses(corp)
        variant = {"text": "hello", "link_url": "https://example.com/", "link_title": "look"}
        self.twice(corp, other, owner, "CreateCampaign", campaign={
            "campaign_id": "spring", "audience_expression": AUDIENCE, "variants": [variant]})
        wish = {"campaign_id": "spring"}
        self.twice(corp, other, owner, "LaunchCampaign", **wish)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            watches = [pool.submit(self.watch, address, corp) for address in (owner, other)]
            self.twice(corp, owner, other, "PauseCampaign", **wish, reason="test")
            self.twice(corp, other, owner, "ResumeCampaign", **wish, reason="test")
            seen = [watch.result() for watch in watches]
        self.assertEqual(seen[0][-1], seen[1][-1])
        self.assertEqual(seen[0][-1].campaign.touches_sent, CUSTOMERS)
        for watched in seen:  # from the beginning on
            self.assertEqual(watched[0].campaign.touches_sent, 0)
            self.assertGreater(len(watched), 2)

    def twice(self, corp, first, second, name, **fields):
        """The same request at one replica, then at the other, and later another one."""
        fields.update(corp=corp, request_id=request_id())
        got = deployment.operator.ask(first, name, **fields)
        self.assertEqual(deployment.operator.ask(second, name, **fields), got)
        fields.update(request_id=request_id())
        answer = deployment.operator.call(second, deployment.api.method(name), **fields)
        self.assertIn(answer.code, ["ALREADY_EXISTS", "FAILED_PRECONDITION"])

    def watch(self, address, corp):
        answer = deployment.operator.call(address, deployment.api.method("WatchCampaign"),
                                          corp=corp, campaign_id="spring", seconds=30)
        self.assertEqual(answer.code, "OK", answer)
        return answer.responses

    def test_a_forwarded_call_ends_with_the_deadline_of_its_caller(self):
        for service, name, fields in (
                ("dispatch", "GetCampaign", {"campaign_id": "x"}),
                ("dispatch", "LaunchCampaign", {"campaign_id": "x", "request_id": request_id()}),
                ("dispatch", "WatchCampaign", {"campaign_id": "x"}),
                ("segmentation", "CountCustomers", {"expression": "all"}),
                ("segmentation", "PreviewAudience", {"expression": "all"})):
            with self.subTest(name):
                def call(seconds, method=deployment.api.method(name), fields=fields,
                         address=deployment.address(service, 1 - OWNERS[CORP_B])):
                    return deployment.operator.call(address, method, corp=CORP_B, **fields,
                                                    seconds=seconds)

                # With a connection; whoever must make one first is UNAVAILABLE after 0.5 s.
                self.assertIn(call(20).code, ["OK", "NOT_FOUND"])
                with stopped(deployment.replica(service, OWNERS[CORP_B])):
                    begin = time.monotonic()
                    answer = call(0.5)
                    took = time.monotonic() - begin
                self.assertEqual((answer.code, answer.responses), ("DEADLINE_EXCEEDED", []),
                                 answer)
                self.assertLess(took, 1)

    def test_a_call_is_forwarded_once(self):
        """Only a process of the deployment can be believed to have forwarded a call."""
        calls = [(CORP_B, method) for method in methods_of("dispatch")
                 # What every replica does itself.
                 if method.name not in ("CreateCampaign", "ForecastCompletion")]
        calls += [(corp, method) for corp, method in
                  itertools.product(OWNERS, methods_of("segmentation"))
                  if method.name in ("CountCustomers", "PreviewAudience")]
        for corp, method in calls:
            meant = [1] if method.service == "segmentation" else [0, 1]
            for ordinal in meant:
                with self.subTest(method=method.name, corp=corp, meant=ordinal):
                    answer = deployment.operator.call(
                        deployment.address(method.service, 0), method,
                        deployment.api.good_request(method, corp), metadata=hop(ordinal))
                    self.assertRefused(answer, "FAILED_PRECONDITION", "REPLICAS_DIFFER")


class stopped:
    """A replica that does not run, though all its connections are open."""

    def __init__(self, replica):
        self._process = replica.process

    def __enter__(self):
        self._process.send_signal(signal.SIGSTOP)
        # A thread may still be running for a while after the signal was sent.
        wait_for(self._all_threads_stopped, "stopped threads")

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGCONT)

    def _all_threads_stopped(self):
        states = []
        for path in glob.glob(f"/proc/{self._process.pid}/task/*/stat"):
            with open(path, encoding="utf-8") as stat:
                states.append(stat.read().rpartition(")")[2].split()[0])
        return set(states) == {"T"}


class GatheringTest(DeploymentTest):
    def ask(self, ordinal, name, **fields):
        return deployment.operator.call(deployment.address("segmentation", ordinal),
                                        deployment.api.method(name), corp=CORP_B, **fields)

    def count(self, ordinal, expression, **fields):
        return self.ask(ordinal, "CountCustomers", expression=expression, **fields)

    def assertCounts(self, ordinal):
        for expression, count in ((AUDIENCE, CUSTOMERS), ("orders.sum = 100.00", RICH),
                                  ("orders.sum = 7.00", 0)):
            answer = self.count(ordinal, expression)
            self.assertEqual(answer.response.count, count, expression)

    def preview(self, ordinal):
        """{customer: owner}."""
        answer = self.ask(ordinal, "PreviewAudience", expression=AUDIENCE)
        self.assertEqual(answer.code, "OK", answer)
        told = [each for part in answer.responses for each in part.customers]
        self.assertEqual(len({each.customer for each in told}), len(told))
        return {each.customer: each.owner for each in told}

    def contains(self, ordinal, number):
        return self.ask(ordinal, "ContainsCustomer", expression="orders.sum = 100.00",
                        customer=f"wm{CORP_B}{number}")

    def test_every_replica_knows_all(self):
        want = {f"wm{CORP_B}{n}": f"m{n % MEMBERS}" for n in range(CUSTOMERS)}
        for ordinal in range(REPLICAS):
            self.assertCounts(ordinal)
            self.assertEqual(self.preview(ordinal), want)
            for number in SOME:
                answer = self.contains(ordinal, number).response
                self.assertEqual((answer.contained, answer.known), (number < RICH, True))

    def test_a_count_is_never_partial(self):
        dead = deployment.replica("segmentation", 1)
        dead.kill()
        try:
            for _ in range(3):
                self.assertRepeatable(self.count(0, AUDIENCE), "REPLICA_UNAVAILABLE")
                self.assertRepeatable(self.ask(0, "PreviewAudience", expression=AUDIENCE),
                                      "REPLICA_UNAVAILABLE")
            answers = {number: self.contains(0, number) for number in SOME}
            self.assertEqual({answer.code for answer in answers.values()}, {"OK", "UNAVAILABLE"})
            for number, answer in answers.items():
                if answer.code == "OK":
                    self.assertEqual(answer.response.contained, number < RICH)
                else:
                    self.assertRepeatable(answer, "REPLICA_UNAVAILABLE")
            self.assertValidationIsRepeatable()
        finally:
            dead.launch()
        self.assertSoonCounted()
        dead.await_ports(30)
        for ordinal in range(REPLICAS):
            self.assertCounts(ordinal)

    def assertValidationIsRepeatable(self):
        """Validation previews the audience, at each replica of segmentation in turn."""
        method = deployment.api.method("CreateCampaign")
        request = deployment.api.good_request(method, CORP_B)
        request.campaign.campaign_id, request.validate_only = "validated", True
        for _ in range(2):
            self.assertRepeatable(deployment.operator.call(
                deployment.address("dispatch", 0), method, request),
                "SEGMENTATION_UNAVAILABLE", "REPLICA_UNAVAILABLE")

    def test_what_was_acknowledged_is_counted(self):
        for number in range(10):
            publish(CORP_A, 1 - number % 2, "later",
                    customer_events(f"wmlater{number}", "m0", [123400]))
            for ordinal in range(REPLICAS):
                answer = deployment.operator.ask(
                    deployment.address("segmentation", ordinal), "CountCustomers", corp=CORP_A,
                    expression="orders.sum = 1234.00")
                self.assertEqual(answer.count, number + 1)

    def test_a_rule_is_listed_by_the_other_replica_at_once(self):
        for_each_corp(self.check_rules)

    def check_rules(self, corp):
        put, listed = (deployment.address("tagging", ordinal) for ordinal in range(REPLICAS))
        for number in range(25):
            rule = {"rule_id": "often", "condition": f"orders.count >= {number + 1000}",
                    "tags": ["probe"]}
            stored = deployment.operator.ask(put, "PutRule", corp=corp, rule=rule,
                                             request_id=request_id()).rule
            rules = deployment.operator.ask(listed, "ListRules", corp=corp).rules
            self.assertIn(stored, rules)


class OwnershipTest(DeploymentTest):
    def test_a_second_process_of_an_ordinal_takes_over(self):
        for service, name, fields in (
                ("dispatch", "ListCampaigns", {}),
                ("segmentation", "CountCustomers", {"expression": AUDIENCE})):
            with self.subTest(service):
                self.take_over(deployment.replica(service, 1), deployment.api.method(name),
                               deployment.address(service, 0), {"corp": CORP_B, **fields})

    def take_over(self, replica, method, neighbour, fields):
        right = deployment.operator.call(neighbour, method, **fields)
        self.assertEqual(right.code, "OK")
        with Asking(neighbour, method, fields) as asking:
            first = replica.process
            replica.launch(elsewhere=True)
            replica.await_ports(30)
            self.assertEqual(replica.await_exit(first, 5), EXIT_FENCED)
            # Elsewhere than its peers know, so that it is the newcomer itself that serves.
            self.assertEqual(deployment.operator.call(replica.ports["grpc"], method, **fields),
                             right)
            second = replica.process
            replica.launch()
            replica.await_ports(30)
            self.assertEqual(replica.await_exit(second, 5), EXIT_FENCED)
            wait_for(lambda: asking.last().code == "OK", "an answer through the neighbour")
        for answer in asking.answers:
            if answer.code == "OK":
                self.assertEqual(answer, right)
            else:
                self.assertRepeatable(answer)


class Asking:
    """Asks the same again and again meanwhile."""

    def __init__(self, address, method, fields):
        self._ask = lambda: deployment.operator.call(address, method, **fields)
        self.answers = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def last(self):
        """An answer of a question that is asked from now on."""
        number = len(self.answers)
        wait_for(lambda: len(self.answers) > number + 1, "the next answer")
        return self.answers[-1]

    def _run(self):
        while not self._over.is_set():
            self.answers.append(self._ask())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


class CallbackTest(DeploymentTest):
    def connect(self):
        host, port = deployment.many.address("ingestion", 0, "callback").split(":")
        context = ssl.create_default_context(cafile=deployment.authority.ca)
        connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=context)
        connection.connect()
        return connection

    def serial(self):
        """Of the certificate that a new connection is shown."""
        connection = self.connect()
        try:
            return connection.sock.getpeercert()["serialNumber"]
        finally:
            connection.close()

    def assertAnswers(self, connection):
        connection.request("GET", f"/callback/{CORP_A}/1000002")
        with connection.getresponse() as response:
            self.assertEqual((response.status, response.read()), (403, b"refused"))

    def test_a_new_certificate_is_taken_while_connections_stay(self):
        open_one, before = self.connect(), self.serial()
        self.assertAnswers(open_one)
        cert, key = deployment.authority.issue("callback-new", "IP:127.0.0.1")
        os.replace(key, deployment.callback_tls["key_file"])
        self.assertEqual(self.serial(), before)  # the key of no certificate yet
        os.replace(cert, deployment.callback_tls["cert_file"])
        wait_for(lambda: self.serial() != before, "the new certificate")
        self.assertAnswers(open_one)
        open_one.close()
        new_one = self.connect()
        self.assertAnswers(new_one)
        new_one.close()


class SettingsTest(DeploymentTest):
    def check(self, *arguments, code, binary="tidegate-dispatch", **more):
        """What it says: standard output and error."""
        got, out, err = deployment.run(binary, *arguments, **more)
        self.assertEqual(got, code, (arguments, out, err))
        return out + err

    def plain(self, name, more=""):
        """A file of settings for one machine."""
        return deployment.write(name, f"corps_file: corps.json\nlog:\n  data_dir: data\n{more}")

    def test_good_settings_are_good(self):
        for service, ordinal, _ in deployment.every_address():
            self.assertEqual("the settings are good\n", self.check(
                "--config", deployment.config, "--replica", f"{ordinal}/2", "--check-config",
                binary=f"tidegate-{service}", code=0))
        self.check("serve", "--config", self.plain("plain.yaml"), "--check-config", code=0,
                   binary="tidegate")

    def test_a_wrong_key_is_shown_with_its_place_and_the_right_one(self):
        path = self.plain("wrong.yaml", "listen:\n  gprc: 127.0.0.1:0\n")
        want = f'{path}:5:3: unknown setting "listen.gprc"; did you mean "grpc"?'
        self.assertIn(want, self.check("--config", path, "--check-config", code=EXIT_USAGE))
        self.assertIn(want, self.check("--config", path, code=EXIT_USAGE))
        self.assertIn(want, self.check("serve", "--config", path, code=EXIT_USAGE,
                                       binary="tidegate"))

    def test_flag_beats_environment_beats_file(self):
        path = self.plain("three.yaml", "partitions: 6\nlanes: 6\nsend: false\n")
        text = self.check("--config", path, "--print-config", "--set", "partitions=8", code=0,
                          environment={"TIDEGATE_PARTITIONS": "7", "TIDEGATE_LANES": "7"})
        for line in ("partitions: 8", "lanes: 7", "send: false"):
            self.assertIn(line, text.splitlines())

    def test_a_listener_beyond_loopback_needs_tls(self):
        path = self.plain("public.yaml", "listen:\n  grpc: 0.0.0.0:0\n")
        for binary, verb in (("tidegate-dispatch", []), ("tidegate", ["serve"])):
            self.assertIn("public.yaml:5:9: listen.grpc is 0.0.0.0:0, beyond loopback, without "
                          "TLS; write listen.tls.cert_file",
                          self.check(*verb, "--config", path, binary=binary, code=EXIT_USAGE))

    def test_replicas_and_peers_must_be_as_many(self):
        for more in (["--check-config"], []):
            self.assertIn("peers.dispatch has 2 addresses, but there are 3 replicas (replica 0/3);"
                          " list the gRPC address of each",
                          self.check("--config", deployment.config, "--replica", "0/3", *more,
                                     code=EXIT_USAGE))

    def test_an_unreachable_kafka_is_named(self):
        self.assertEqual(unreachable.wait(60), 1)
        last = log_of("unreachable").splitlines()[-1]
        self.assertIn("127.0.0.1:1", last)
        self.assertTrue(last.startswith("tidegate-tagging: "), last)

    def test_a_start_that_waits_for_kafka_ends_when_told_to(self):
        waiting = start_unreachable("waiting")
        wait_for(lambda: "refused" in log_of("waiting"), "the start looks for Kafka")
        waiting.terminate()
        self.assertEqual(waiting.wait(5), 0)

    def test_one_process_serves_from_a_file(self):
        addresses = "".join(f"  {name}: 127.0.0.1:0\n" for name in ("grpc", "callback", "admin"))
        path = self.plain("one.yaml", f"listen:\n{addresses}  ports_file: one-ports.json\n")
        server = deployment.processes.start("one", [
            os.path.join(os.environ["TIDEGATE_BIN"], "tidegate"), "serve", "--config", path])
        ports = os.path.join(deployment.folder, "one-ports.json")
        wait_for(lambda: os.path.exists(ports) or server.poll() is not None, "a ports file")
        with open(ports, encoding="utf-8") as file:
            admin = json.load(file)["admin"]
        self.assertEqual(http_get(f"http://{admin}/readyz"), (200, "ok\n"))
        server.terminate()
        self.assertEqual(server.wait(20), 0)


class HealthTest(DeploymentTest):
    JOURNALS = {"ingestion": None, "tagging": "profiles", "segmentation": "memberships",
                "dispatch": "ledger"}

    def admins(self):
        for service, ordinal, _ in deployment.every_address():
            address = deployment.many.address(service, ordinal, "admin")
            yield service, ordinal, f"http://{address}"

    def test_every_dependency_is_shown_with_its_progress(self):
        for service, ordinal, admin in self.admins():
            status, text = http_get(f"{admin}/readyz?verbose")
            self.assertEqual(status, 200, text)
            self.assertRegex(text, r"(?m)^\[\+\] kafka: cluster \S+ answered \d+ ms ago$")
            shown = [line.split()[1] for line in text.splitlines() if "journal read" in line]
            self.assertEqual(shown, self.journals(service, ordinal))
            for line in text.splitlines()[2:]:
                self.assertRegex(line, r"^\[\+\] \S+: live, journal read [1-9]\d* of [1-9]\d*$")

    def journals(self, service, ordinal):
        topic, count = self.JOURNALS[service], 2 if service == "dispatch" else 4
        return [f"tidegate.{topic}/{p}:" for p in range(ordinal, count, REPLICAS)] if topic else []

    def test_without_the_broker_processes_live_and_are_not_ready(self):
        deployment.cluster.pause(1)
        try:
            wait_for(lambda: self.live_and(503), "not ready", 30)
            for _, _, admin in self.admins():
                status, text = http_get(f"{admin}/readyz?verbose")
                self.assertEqual(status, 503)
                self.assertRegex(text, r"(?m)^\[-\] kafka: cluster \S+ answered \d{5,} ms ago$")
        finally:
            deployment.cluster.resume(1)
        wait_for(lambda: self.live_and(200), "ready again", 30)
        self.assertSoonCounted()

    def live_and(self, ready):
        """Whether all are; that they live is required at any time."""
        for _, _, admin in self.admins():
            self.assertEqual(http_get(f"{admin}/livez", seconds=2), (200, "ok\n"))
        return all(http_get(f"{admin}/readyz")[0] == ready for _, _, admin in self.admins())


if __name__ == "__main__":
    needs_kafka.main()
