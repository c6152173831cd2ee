import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text as textOf } from 'node:stream/consumers'
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

/** What a person who pastes this at the prompt has given; the terminal stays open, and holds nothing up. */
async function pasted(text: string): Promise<string> {
  const module = fileURLToPath(new URL('../../services/cli/join-fleet.ts', import.meta.url))
  const argv = ['--input-type=module', '--eval', ASKING, module]
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const child = spawn(process.execPath, argv, { cwd, timeout: 30_000 })
  if (text === '') child.stdin.end()
  else child.stdin.write(text)
  const ended = once(child, 'exit')
  const [stdout, stderr] = await Promise.all([textOf(child.stdout), textOf(child.stderr)])
  assert.deepEqual(await ended, [0, null])
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
  assert.equal(await pasted(`${pieces.join('\n')}\nnext\n`), line)
  assert.equal(await pasted(`${pieces.slice(0, 2).join('\n')}\n\nnext\n`), pieces.slice(0, 2).join(''))
  assert.equal(await pasted('ls\nnext\n'), 'ls')
  assert.equal(await pasted('\nnext\n'), 'noinvitationwasgiven')
  assert.equal(await pasted(''), 'noinvitationwasgiven')
})
