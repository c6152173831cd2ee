import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Health, serveHealth } from '../../services/core/runtime/health.ts'
import { healthSocket } from '../../services/core/runtime/health-client.ts'
import { mainOf } from '../program.ts'
import { run } from './run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-health-'))
after(() => rmSync(folder, { recursive: true }))
const env = { S2_STATE: folder }
const WHY = `https://bridge.example.org cannot be reached: ${'a long story, '.repeat(40)}the end`

/** A program that says this of itself. */
async function serve(program: string, topic: string | null, why: string): Promise<AsyncDisposable> {
  const health = new Health()
  health.enter('ready')
  if (topic !== null) health.trouble(topic, why)
  return await serveHealth(health, { path: healthSocket(folder, program) })
}

test('each program that cannot work is told with all of its reason, and what to do', async () => {
  await using _keepalive = await serve('keepalive', 'bridge https://bridge.example.org', WHY)
  await using _sync = await serve('cred-sync', 'remote', 'unavailable: no')
  await using _watcher = await serve('fs-watcher', null, '')
  const screen = { isTerminal: false, columns: Number.POSITIVE_INFINITY, rows: 24, coloured: false }
  const { code, out } = await run(['health'], { env, screen })
  assert.equal(code, 1)
  assert.ok(out.includes(WHY.trim()))
  assert.match(out, /^keepalive +troubled .*the end\n {2}next: .*s2 health bridge/m)
  assert.match(out, /^cred-sync +troubled .*\n {2}next: .*git ls-remote/m)
  assert.match(out, /^fs-watcher +ready$/m)
  const json = JSON.parse((await run(['health', '--json'], { env })).out) as { program: string; next: string | null }[]
  assert.deepEqual(
    json.map(({ program, next }) => [program, typeof next]),
    [
      ['keepalive', 'string'],
      ['fs-watcher', 'object'],
      ['cred-sync', 'string'],
    ],
  )
})

test('one that does not run is looked for where it would have been started', async () => {
  const { code, out } = await run(['health', 'watchdog'], { env })
  assert.equal(code, 1)
  assert.match(out, /^watchdog +away +it does not run\n {2}next: .*watchdog/m)
  const none = await run(['health'], { env: { S2_STATE: join(folder, 'none') } })
  assert.match(none.err, /no program runs with the state folder .*\n {2}next: .*S2_STATE/)
})

test('docker compose is named where compose runs the programs, and not for a plain process in some container', async () => {
  const plain = await run(['health', 'watchdog'], { env })
  assert.doesNotMatch(plain.out, /docker/)
  const composed = await run(['health', 'watchdog'], { env: { ...env, RUN_BY: 'compose' } })
  assert.match(composed.out, /next: docker compose ps, and docker compose logs watchdog$/m)
})

test('a pipe has no window: what is written into one is whole', () => {
  const spawned = spawnSync(process.execPath, [mainOf('cli'), 'config'], {
    env: { PATH: process.env.PATH, ...env, S2_GIT_REMOTE: `ssh://git@example.org/${'long/'.repeat(60)}fleet.git` },
    encoding: 'utf8',
  })
  assert.match(spawned.stdout, /(long\/){60}fleet\.git/)
})

test('a host whose worker was revoked or replaced is told to have it invited again', async () => {
  await using _keepalive = await serve('keepalive', 'session conv_0123456789abcdef/b', 'unauthenticated: no')
  const { out } = await run(['health', 'keepalive'], { env })
  assert.match(out, /next: .*revoked or replaced is invited again: s2 worker invite/)
})
