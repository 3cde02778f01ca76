import contextlib
import io
import json
import os
import tempfile
import unittest
from unittest import mock

import tools


def a_tool(name, install, needs=(), files=()):
    return tools.Tool(name, "light", "1.0", "nothing", install, files, needs)


class ChosenTest(unittest.TestCase):
    def names(self, *wanted):
        return [tool.name for tool in tools.chosen(wanted)]

    def test_no_name_means_all(self):
        self.assertEqual(self.names(), [tool.name for tool in tools.TOOLS])

    def test_a_group_means_its_tools(self):
        self.assertEqual(self.names("image"), ["containers"])

    def test_a_tool_brings_what_it_needs_and_before_it(self):
        self.assertEqual(self.names("schemas"), ["controller-gen", "schemas"])

    def test_an_unknown_name_is_told_with_the_known_ones(self):
        with self.assertRaisesRegex(ValueError, "unknown tool helm; known: light, .*helm3"):
            self.names("helm")

    def test_every_need_is_a_tool_that_comes_before(self):
        seen = set()
        for tool in tools.TOOLS:
            self.assertLessEqual(set(tool.needs), seen, tool.name)
            self.assertIn(tool.group, tools.GROUPS)
            seen.add(tool.name)


class InstallTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.multiple(
            tools, PROOF=self.folder, STATE=os.path.join(self.folder, "installed.json")))
        self.program = os.path.join(self.folder, "program")
        self.calls = 0

    def make_program(self):
        self.calls += 1
        tools.write(self.program, "x")

    def install(self, *wanted):
        """(rows, what was said on standard error)"""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            rows = tools.install(wanted)
        return rows, said.getvalue()

    def refused(self):
        raise tools.Unavailable("the network is down;\n try later")

    def test_what_is_there_is_not_installed_again(self):
        tool = a_tool("one", self.make_program, files=(self.program,))
        states = [self.install(tool)[0][0]["state"] for _ in range(2)]
        self.assertEqual(states, ["installed", "there"])
        self.assertEqual(self.calls, 1)

    def test_another_version_is_installed_anew(self):
        tool = a_tool("one", self.make_program, files=(self.program,))
        self.install(tool)
        self.assertEqual(self.install(tool._replace(version="2.0"))[0][0]["state"], "installed")

    def test_a_deleted_file_is_installed_anew(self):
        tool = a_tool("one", self.make_program, files=(self.program,))
        self.install(tool)
        os.remove(self.program)
        self.assertEqual(self.install(tool)[0][0]["state"], "installed")

    def test_a_skipped_tool_is_one_line_and_the_rest_goes_on(self):
        rows, said = self.install(a_tool("bad", self.refused),
                                  a_tool("one", self.make_program, files=(self.program,)))
        self.assertEqual([row["state"] for row in rows], ["skipped", "installed"])
        self.assertIn("SKIPPED tool bad: the network is down; try later\n", said)

    def test_what_needs_a_skipped_tool_is_skipped_with_it(self):
        rows, said = self.install(a_tool("bad", self.refused),
                                  a_tool("one", self.make_program, needs=("bad",)))
        self.assertIn("SKIPPED tool one: it needs bad\n", said)
        self.assertEqual((rows[1]["state"], self.calls), ("skipped", 0))

    def test_an_installation_without_its_file_is_skipped(self):
        _, said = self.install(a_tool("one", lambda: None, files=(self.program,)))
        self.assertIn("SKIPPED tool one: program is missing afterwards", said)

    def test_exit_code_is_0_also_where_tools_are_skipped(self):
        said = io.StringIO()
        with mock.patch.object(tools, "TOOLS", (a_tool("bad", self.refused),)), \
                contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            code = tools.main(["bad", "--json"])
        self.assertEqual((code, json.loads(said.getvalue())[0]["state"]), (0, "skipped"))


class CommandTest(unittest.TestCase):
    def test_a_failed_command_is_told_by_its_last_line(self):
        with self.assertRaisesRegex(tools.Unavailable, "`sh -c .*exit code 3: second"):
            tools.run(["sh", "-c", "echo first >&2; echo second >&2; exit 3"])

    def test_a_missing_command_is_named(self):
        with self.assertRaisesRegex(tools.Unavailable, "no-such-program is missing"):
            tools.run(["no-such-program"])


class SchemaTest(unittest.TestCase):
    def test_absolute_names_are_taken_out_of_kubernetes_schemas(self):
        text = '{"$ref": "/api/_definitions.json#/x", "y": 1, "$id": "z" }'
        self.assertEqual(json.loads(tools.repaired(text)),
                         {"$ref": "_definitions.json#/x", "y": 1})

    def test_unknown_fields_of_a_custom_resource_are_refused(self):
        schema = tools.strict({"properties": {"spec": {"type": "object",
                                                       "properties": {"a": {"type": "string"}}}}},
                              top=True)
        self.assertNotIn("additionalProperties", schema)
        self.assertIs(schema["properties"]["spec"]["additionalProperties"], False)

    def test_what_takes_any_field_still_does(self):
        for schema in ({"properties": {}, "x-kubernetes-preserve-unknown-fields": True},
                       {"type": "object", "additionalProperties": {"type": "string"}}):
            self.assertEqual(tools.strict(schema), schema)

    def test_int_or_string_is_either(self):
        self.assertEqual(tools.strict({"x-kubernetes-int-or-string": True}),
                         {"anyOf": [{"type": "integer"}, {"type": "string"}]})

    def test_a_property_called_properties_is_no_schema(self):
        schema = {"properties": {"properties": {"type": "string"}}}
        self.assertEqual(tools.strict(schema, top=True), schema)


if __name__ == "__main__":
    unittest.main()
