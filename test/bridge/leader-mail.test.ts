/** What hooks tell on the bridge's own host of the mail of its orchestrator, which lies in the database alone. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { leaderMailHere } from '#agents/leader-mail.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { publishCredential } from '#spool/credentials.ts'
import { run } from '../cli/run-command.ts'
import { recorded } from '../core/agents/reports.ts'
import { mainOf } from '../program.ts'
import { until } from '../until.ts'
import { Ground } from './ground.ts'

const STOP = recorded('claude').find((line) => line.includes('"hook_event_name":"Stop"')) ?? ''

async function groundWithHooks(): Promise<Ground> {
  const ground = await Ground.open()
  mkdirSync(join(ground.state, 'agents'), { mode: 0o700 })
  return ground
}

function stopHook(state: string, env: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [mainOf('cli'), 'hook', 'Stop', '--agent', 'claude', '--state', state],
      { env: { PATH: process.env.PATH, ...env } },
      (error, out, err) => (error === null && err === '' ? resolve(out) : reject(error ?? new Error(err))),
    )
    child.stdin?.end(STOP)
  })
}

function told(ground: Ground): string[] {
  return leaderMailHere(ground.state, Date.now())
}

test('a hook tells of mail for the orchestrator once, and of none that was read', async () => {
  await using ground = await groundWithHooks()
  const { b } = await ground.channel()
  const { id } = await ground.store.send(b.session, 'k', { text: 'hello' })
  await until('it is published', () => told(ground).includes(`${id}.json`))
  const { decision, reason } = JSON.parse(await stopHook(ground.state))
  assert.deepEqual([decision, reason.includes('hello')], ['block', false])
  assert.match(reason, /^One unread message waits/)
  assert.equal(await stopHook(ground.state), '', 'once for each message')
  const { out } = await run(['check'], { env: { S2_STATE: ground.state } })
  assert.match(out, /hello/)
  await until('what is in hand is told no more', () => told(ground).length === 0)
  await ground.store.send(b.session, 'k2', { text: 'more' })
  await until('the next one is', () => told(ground).length === 1)
  assert.match(await stopHook(ground.state), /One unread message waits/)
})

test('a hook on the orchestrator’s host waits for no bridge and no database', async () => {
  await using ground = await groundWithHooks()
  const { b } = await ground.channel()
  await ground.store.send(b.session, 'k', { text: 'hello' })
  await until('it is published', () => told(ground).length === 1)
  await ground.stop()
  assert.match(await stopHook(ground.state), /One unread message waits/)
  await ground.restart()
})

test('workers, hosts with a credential and lists of long ago are told of none of it', async () => {
  await using ground = await groundWithHooks()
  const { a, b } = await ground.channel()
  await ground.store.send(b.session, 'k', { text: 'hello' })
  await until('it is published', () => told(ground).length === 1)
  assert.deepEqual(leaderMailHere(ground.state, Date.now() + 100_000), [])
  assert.equal(await stopHook(ground.state, { S2_TASK_SESSION: b.session }), '')
  await publishCredential(ground.state, {
    ...{ session: a.session, agent: 'orchestrator', role: 'orchestrator', token: a.token },
    ...{ bridgeUrl: ground.bridge.url, createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
  })
  assert.equal(await stopHook(ground.state), '')
  writeFileSync(join(ground.state, 'agents/leader-mail.json'), '{"at":1,"ids":"x"}')
  assert.deepEqual(told(ground), [])
})

test('mail that a keepalive elsewhere brings to the orchestrator is not told of here, and nothing is made where no hooks are', async () => {
  await using ground = await groundWithHooks()
  const [far, near] = [await ground.channel('s2-worker-1'), await ground.channel('s2-worker-2')]
  await ground.store.beat([beatOf(far.a.session)])
  await ground.store.send(far.b.session, 'k', { text: 'far' })
  const { id } = await ground.store.send(near.b.session, 'k', { text: 'near' })
  await until('it is published', () => told(ground).length > 0)
  assert.deepEqual(told(ground), [`${id}.json`])
  await using other = await Ground.open()
  const { b } = await other.channel()
  await other.store.send(b.session, 'k', { text: 'x' })
  assert.ok(!existsSync(join(other.state, 'agents')))
})

function beatOf(session: SessionId) {
  return { session, host: 'elsewhere', incarnation: 'life', seq: 1, work: 0 }
}
