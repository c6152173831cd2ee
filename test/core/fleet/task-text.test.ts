import assert from 'node:assert/strict'
import { test } from 'node:test'
import { textAmongOptions } from '#fleet/task-text.ts'

const TEXT = '$S2_TASK_DESCRIPTION'
const line = (text: string): string | null => textAmongOptions(['/bin/sh', '-c', text])

const TAKEN_FOR_OPTIONS = [
  `claude -p "${TEXT}"`,
  `claude -p ${TEXT}`,
  `claude "${TEXT}" --print`,
  `claude -p "\${S2_TASK_DESCRIPTION}"`,
  `claude -p "\${S2_TASK_DESCRIPTION:-nothing}"`,
  `KEY=$(cat /run/secrets/agent_key) claude -p "${TEXT}"`,
  `cd /src && exec claude -p "${TEXT}" | tee log`,
  `claude -p "${TEXT}" -- file`,
  `bash -lc 'claude -p "${TEXT}"'`,
  `echo begin; codex exec "${TEXT} now"`,
  `if true; then claude -p "${TEXT}"; fi`,
  `(claude -p "${TEXT}")`,
  `/usr/bin/env claude -p "${TEXT}"`,
]
const DATA = [
  `claude -p -- "${TEXT}"`,
  `KEY=x claude -p -- ${TEXT}`,
  `printf %s "${TEXT}" | claude -p`,
  `echo "${TEXT}" | claude -p`,
  `claude -p <<<"${TEXT}"`,
  `claude --prompt="${TEXT}"`,
  `claude -p "do this: ${TEXT}"`,
  `exec sh -c "${TEXT}"`,
  `claude -p '${TEXT}'`,
  'claude -p "$S2_TASK_DESCRIPTION_FILE"',
  'codex exec -',
  `test -n "${TEXT}" && cat`,
  `bash -lc 'claude -p -- "${TEXT}"'`,
]

for (const each of TAKEN_FOR_OPTIONS) test(`text among the options: ${each}`, () => assert.notEqual(line(each), null))
for (const each of DATA) test(`text as data: ${each}`, () => assert.equal(line(each), null))

test('a list is run without a shell, so that nothing in it is the text, unless it starts one', () => {
  assert.equal(textAmongOptions(['claude', '-p', TEXT]), null)
  assert.notEqual(textAmongOptions(['bash', '-c', `claude -p "${TEXT}"`]), null)
  assert.equal(textAmongOptions([]), null)
})

test('it names the words', () => {
  assert.equal(line(`cd x && claude -p "${TEXT}" | cat`), `claude -p "${TEXT}"`)
})
