/** What a worker's own host is shown of the fleet, over a bridge that knows more. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { publishCredential } from '#spool/credentials.ts'
import { Ground } from '../bridge/ground.ts'
import { run } from './run-command.ts'

test('a worker sees what the watchdog thinks of itself and of the orchestrator', async () => {
  await using ground = await Ground.open()
  const { opened, b } = await ground.channel('s2-worker-1')
  await ground.channel('s2-worker-2')
  const state = join(ground.state, 'worker')
  const { createdAt, expiresAt } = opened
  const where = { agent: 's2-worker-1', role: 'tests', bridgeUrl: ground.bridge.url }
  await publishCredential(state, { ...b, ...where, createdAt, expiresAt })
  const look = () => run(['status'], { env: { S2_STATE: state } })
  const unwatched = await look()
  assert.match(unwatched.out, /^2 agents, and nobody watches · .* · no watchdog has looked yet\n/)
  assert.equal(unwatched.code, 1)
  const since = Date.now()
  await ground.store.judge([
    { agent: 'orchestrator', verdict: 'alive', since, host: 'h' },
    { agent: 's2-worker-1', verdict: 'late', since, host: 'h' },
    { agent: 's2-worker-2', verdict: 'silent', since, host: 'h' },
  ])
  const { code, out } = await look()
  assert.equal(code, 0)
  assert.match(out, /^2 agents, 1 alive · 0 tasks open, 0 completed, 0 failed\n/)
  assert.match(out, /^orchestrator +orchestrator +alive /m)
  assert.match(out, /^s2-worker-1 +tests +late /m)
  assert.doesNotMatch(out, /s2-worker-2|silent/)
})
