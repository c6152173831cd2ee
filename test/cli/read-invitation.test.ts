import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { makeIdentity } from '#identity/identity-file.ts'
import { formatInvitation, makeSecret } from '#identity/joining.ts'

const ASKING = `
const { systemContext } = await import('#console/context.ts')
const { readInvitationLine } = await import(process.argv[1])
const context = { ...systemContext({}), isAttended: true }
const line = await readInvitationLine(context, undefined).catch((error) => error.message)
console.log(JSON.stringify(line.replaceAll(/\\s/g, '')))
`

/** What a person who pastes this at the prompt has given. */
function pasted(text: string): string {
  const module = fileURLToPath(new URL('../../services/cli/join-fleet.ts', import.meta.url))
  const argv = ['--input-type=module', '--eval', ASKING, module]
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, argv, { cwd, input: text, encoding: 'utf8', timeout: 60_000 })
  assert.match(stderr, /^Paste the line/)
  return JSON.parse(stdout)
}

test('an invitation that is pasted with breaks is read to its end, and what is none is not waited for', async () => {
  const line = formatInvitation({
    ...{ agent: 's2-worker-3', orchestrator: await makeIdentity(), bridgeUrl: 'http://127.0.0.1:1', remote: null },
    ...{ branch: 'main', secret: makeSecret().secret, endsAt: Date.now() + 60_000 },
  })
  const pieces = line.match(/.{1,70}/g) ?? []
  assert.ok(pieces.length > 2)
  assert.equal(pasted(`${pieces.join('\n')}\nnext\n`), line)
  assert.equal(pasted(`${pieces.slice(0, 2).join('\n')}\n\nnext\n`), pieces.slice(0, 2).join(''))
  assert.equal(pasted('ls\nnext\n'), 'ls')
  assert.equal(pasted('\nnext\n'), 'noinvitationwasgiven')
  assert.equal(pasted(''), 'noinvitationwasgiven')
})
