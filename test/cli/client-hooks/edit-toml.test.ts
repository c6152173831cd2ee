import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tableHeaders, tableText, withoutTable, withTable } from '../../../services/cli/client-hooks/edit-toml.ts'

const LINES = ['command = "s2"', 'args = ["mcp"]']
const PERSONS = `# mine
model = "gpt-6" # the big one
note = """
[mcp_servers.s2]
not a table # "
"""

[mcp_servers.other]
command = "x"

# about projects
[projects."/src"]
trust_level = "trusted"
`

test('a table is put at the end, and taken out to the letter', () => {
  const edited = withTable(PERSONS, 'mcp_servers.s2', LINES)
  assert.equal(edited, `${PERSONS}\n[mcp_servers.s2]\ncommand = "s2"\nargs = ["mcp"]\n`)
  assert.equal(withTable(edited, 'mcp_servers.s2', LINES), edited)
  assert.equal(withoutTable(edited, 'mcp_servers.s2'), PERSONS)
})

test('a table that is there is replaced in its place, and the comments of the next one stay', () => {
  const edited = withTable(PERSONS, 'mcp_servers.other', LINES)
  assert.equal(
    edited,
    PERSONS.replace('[mcp_servers.other]\ncommand = "x"', `[mcp_servers.other]\n${LINES.join('\n')}`),
  )
})

test('what only looks like a header in a string is none', () => {
  assert.equal(tableText(PERSONS, 'mcp_servers.s2'), null)
  assert.equal(withoutTable(PERSONS, 'mcp_servers.s2'), PERSONS)
})

test('a header may have white space, and a file no end', () => {
  assert.equal(tableText('[ mcp_servers . s2 ]\na = 1', 'mcp_servers.s2'), '[ mcp_servers . s2 ]\na = 1')
  assert.equal(withTable('a = 1', 't', []), 'a = 1\n\n[t]\n')
  assert.equal(withTable('', 't', []), '[t]\n')
})

test('a key in quotes may hold dots, brackets and white space, in either quotes', () => {
  const header = 'hooks.state."/a . b/[x].json:stop:0:0"'
  const edited = withTable(PERSONS, header, LINES)
  assert.equal(withTable(edited, header, LINES), edited)
  assert.deepEqual(tableHeaders(edited).slice(-2), ['projects."/src"', header])
  assert.equal(
    tableText(edited.replace(header, "hooks . state.'/a . b/[x].json:stop:0:0'"), header)?.split('\n').length,
    4,
  )
  assert.equal(withoutTable(edited, header), PERSONS)
  assert.equal(tableText('[[t]]\na = 1\n', 't'), null)
})
