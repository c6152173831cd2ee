import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  valueAt,
  withItem,
  withoutItems,
  withoutMember,
  withValue,
} from '../../../services/cli/client-hooks/edit-json.ts'
import { JsonError, jsonValue, readJsonTree } from '../../../services/cli/client-hooks/json-spans.ts'

const PERSONS = `// mine
{
    "model": "opus", // the big one
    /* order matters */
    "hooks": {
        "Stop": [
            { "hooks": [{ "type": "command", "command": "say done" }] } // loud
        ],
    },
    "permissions": { "allow": ["Bash(ls *)"] }
}
`
const OURS = { hooks: [{ type: 'command', command: 's2 hook Stop --agent claude' }] }

test('what is put in stands beside what was there, in the manner of the file', () => {
  const edited = withItem(PERSONS, ['hooks', 'Stop'], OURS)
  assert.deepEqual(
    edited.split('\n').filter((line) => !PERSONS.split('\n').includes(line)).length,
    PERSONS.split('\n').filter((line) => !edited.split('\n').includes(line)).length + 8,
  )
  assert.match(edited, /\/\/ loud\n {12}\{\n {16}"hooks": \[/)
  assert.deepEqual((valueAt(edited, ['hooks', 'Stop']) as unknown[])[1], OURS)
})

test('what is taken out leaves the text that was, to the letter', () => {
  const isOurs = (item: unknown): boolean => JSON.stringify(item) === JSON.stringify(OURS)
  assert.equal(withoutItems(withItem(PERSONS, ['hooks', 'Stop'], OURS), ['hooks', 'Stop'], isOurs), PERSONS)
  assert.equal(withoutItems(withItem(PERSONS, ['hooks', 'Start'], OURS), ['hooks', 'Start'], isOurs), PERSONS)
  assert.equal(withoutMember(withValue(PERSONS, ['mcp', 's2'], { a: 1 }), ['mcp', 's2']), PERSONS)
  const last = '{\n\t"a": 1 // one\n}'
  assert.equal(withoutMember(withValue(last, ['b'], 2), ['b']), last)
})

test('a text on one line stays on one', () => {
  assert.equal(withItem('{"a":[1]}', ['a'], { b: 2 }), '{"a":[1,{"b":2}]}')
  assert.equal(withValue('{"a":1}', ['b', 'c'], true), '{"a":1,"b": {"c":true}}')
})

test('a file that is not there, or holds nothing, gets an object', () => {
  assert.equal(withValue('', ['a', 'b'], 1), '{\n  "a": {\n    "b": 1\n  }\n}\n')
  assert.deepEqual(valueAt(withItem('{}', ['a'], 1), ['a']), [1])
  assert.deepEqual(valueAt(withItem('{ /* none */ }', ['a'], 1), ['a']), [1])
  assert.match(withItem('{ /* none */ }', ['a'], 1), /\/\* none \*\//)
})

test('what a person has in another form is refused, and not written over', () => {
  for (const text of ['[1]', '"x"', '1', '{"a": [1]}', '{"a": "x"}', '{"a": {"b": {"c": 1}}}', '{"a": {"b": "x"}}'])
    assert.throws(() => withItem(text, ['a', 'b'], OURS), /holds something else/, text)
  assert.throws(() => withValue('{"mcpServers": [{"mine": 1}]}', ['mcpServers', 's2'], {}), JsonError)
  assert.equal(withItem('{"a": null}', ['a', 'b'], 1), '{"a": {"b":[1]}}')
})

test('a file of megabytes is read, whatever it is made of', () => {
  const long = [' '.repeat(15e6), `"a": "${'x'.repeat(15e6)}"`, `"a": "${'\\n'.repeat(5e6)}"`, '/**/'.repeat(3e6)]
  for (const filler of long) assert.equal(readJsonTree(`{${filler}}`).kind, 'object')
})

test('of two members with one name the last one counts, as for every reader', () => {
  const text = '{"a": 1, "a": 2}'
  assert.equal(withValue(text, ['a'], 3), '{"a": 1, "a": 3}')
  assert.equal(valueAt(text, ['a']), 2)
})

test('what is no JSON is refused, with its place', () => {
  for (const text of [
    '{',
    '{"a"}',
    '{"a":}',
    '{"a":1 "b":2}',
    '[1,,2]',
    '{"a":1}}',
    '{a:1}',
    `${'['.repeat(10_000)}`,
    '{"a":tru}',
  ]) {
    assert.throws(() => readJsonTree(text), JsonError, text.slice(0, 20))
  }
  assert.throws(
    () => readJsonTree('{\n  "a": x\n}'),
    (error: JsonError) => error.at === 9,
  )
})

test('every JSON is read as JSON.parse reads it, and survives an edit and its undoing', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })),
      fc.constantFrom(undefined, 2, '\t'),
      (value, indent) => {
        const text = JSON.stringify(value, null, indent)
        assert.deepEqual(jsonValue(readJsonTree(text)), JSON.parse(text))
        const path = ['of s2', 'deeper']
        const edited = withItem(text, path, { mine: true })
        assert.deepEqual(JSON.parse(edited), { ...JSON.parse(text), 'of s2': { deeper: [{ mine: true }] } })
        if (Object.keys(value).length > 0)
          assert.equal(
            withoutItems(edited, path, () => true),
            text,
          )
      },
    ),
  )
})
