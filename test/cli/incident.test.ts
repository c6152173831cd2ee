/** `s2 incident`: what the service manager calls when a unit has failed, with or without a bridge. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import Database from 'better-sqlite3'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openStore } from '#store/open-store.ts'
import { run } from './run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-incident-'))
after(() => rmSync(folder, { recursive: true, force: true }))
let state = folder
let count = 0
beforeEach(async () => {
  count += 1
  state = join(folder, String(count))
  await open().then((store) => store[Symbol.asyncDispose]())
})

const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
const open = () => openStore(`sqlite:${state}/bridge.db`, parts)

function s2(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return run(argv, { env: { S2_STATE: state, ...env } })
}

test('one cause, one incident, however often the unit fails; told by every channel that the watchdog has', async () => {
  const env = {
    MONITOR_SERVICE_RESULT: 'exit-code',
    MONITOR_EXIT_CODE: 'exited',
    MONITOR_EXIT_STATUS: '78',
  }
  const first = await s2(['incident', 'open', '--unit', 's2-bridge.service'], env)
  assert.deepEqual(first, {
    code: 0,
    out: 'opened: s2-bridge has failed: its settings are wrong (exit code 78)\n',
    err: '',
  })
  const again = await s2(['incident', 'open', '--unit', 's2-bridge', '--json'], env)
  assert.deepEqual(JSON.parse(again.out), { cause: 'unit_failed:s2-bridge', opened: false })
  await using store = await open()
  const alerts = await store.claimAlerts(['log', 'exec'], 1000)
  assert.deepEqual(alerts.map(({ channel, event }) => `${channel} ${event}`).sort(), ['exec opened', 'log opened'])
  assert.match((await s2(['incident', 'list'])).out, /^ID .*\n1 +\S+ +open +s2-bridge has failed: its settings/)
  assert.match((await s2(['incident', 'show', '1'])).out, /^id +1\ncause +unit_failed:s2-bridge\nkind +unit_failed\n/)
  assert.equal((await s2(['incident', 'show', '2'])).code, 1)
  assert.equal((await s2(['incident', 'close', '--unit', 's2-bridge'])).out, 'closed: unit_failed:s2-bridge\n')
  assert.equal((await s2(['incident', 'close', 'unit_failed:s2-bridge'])).out, 'was not open: unit_failed:s2-bridge\n')
  assert.equal((await s2(['incident', 'list'])).out, 'no incident is open\n')
  assert.equal(JSON.parse((await s2(['incident', 'list', '--all', '--json'])).out).length, 1)
})

test('how it failed, in the words of the service manager', async () => {
  const ways: readonly (readonly [string, string, string, RegExp])[] = [
    ['watchdog', 'killed', 'ABRT', /s2-x has failed: watchdog, killed by ABRT$/m],
    ['signal', 'killed', 'KILL', /s2-x has failed: killed by KILL$/m],
    ['exit-code', 'exited', '1', /s2-x has failed: exit code 1$/m],
    ['start-limit-hit', 'exited', '1', /s2-x has failed: start-limit-hit, exit code 1$/m],
  ]
  for (const [result, code, status, words] of ways) {
    const env = { MONITOR_SERVICE_RESULT: result, MONITOR_EXIT_CODE: code, MONITOR_EXIT_STATUS: status }
    assert.match((await s2(['incident', 'open', '--unit', 's2-x'], env)).out, words)
    await s2(['incident', 'close', '--unit', 's2-x'])
  }
  assert.match((await s2(['incident', 'open', '--unit', 's2-x'])).out, /^opened: s2-x has failed$/m)
})

test('an incident that never was is refused, with those that are open', async () => {
  const none = await s2(['incident', 'close', 'nonsense'])
  assert.equal(none.code, 1)
  assert.match(none.err, /there is no incident "nonsense".*\n.*none is open/s)
  await s2(['incident', 'open', '--unit', 's2-x'])
  const { code, err } = await s2(['incident', 'close', 'nonsense'])
  assert.equal(code, 1)
  assert.match(err, /open are unit_failed:s2-x/)
  assert.equal(
    (await s2(['incident', 'close', '--unit', 's2-y'])).code,
    0,
    'what the service manager says at each start',
  )
})

test('settings that are wrong keep nobody from saying that they are', async () => {
  const env = { S2_SILENT_AFTER: 'soon', S2_TYPO: '1', S2_ALERT_WEBHOOK: 'no address' }
  const { code, out } = await s2(['incident', 'open', '--unit', 's2-watchdog'], env)
  assert.equal(code, 0)
  assert.match(out, /^opened: /)
})

test('where there is no database none is made, and it is said what to look at', async () => {
  rmSync(join(state, 'bridge.db'))
  const { code, err } = await s2(['incident', 'open', '--unit', 's2-cred-sync'])
  assert.equal(code, 1)
  assert.match(err, /no incident can be kept here: there is no database .*\n {2}next: .*systemctl --failed/)
  assert.equal((await s2(['incident', 'open', '--unit', 'a b'])).code, 64)
  assert.equal((await s2(['incident', 'close'])).code, 64)
})

test('a database that is locked for longer than one try waits is waited for, with a bound', async () => {
  const locker = new Database(`${state}/bridge.db`)
  let [now, freeAt] = [0, 20_000]
  const clock = {
    ...systemClock,
    now: () => now,
    sleep: async (ms: number, signal?: AbortSignal) => {
      await systemClock.sleep(1, signal)
      now += ms
      if (now > freeAt && locker.inTransaction) locker.exec('COMMIT')
    },
  }
  const world = { env: { S2_STATE: state }, clock }
  locker.exec('BEGIN IMMEDIATE')
  const opened = await run(['incident', 'open', '--unit', 's2-x'], world)
  assert.deepEqual([opened.code, locker.inTransaction], [0, false], opened.err)
  freeAt = Number.POSITIVE_INFINITY
  locker.exec('BEGIN IMMEDIATE')
  const closed = await run(['incident', 'close', '--unit', 's2-x'], world)
  assert.deepEqual([closed.code, locker.inTransaction], [1, true])
  assert.match(closed.err, /locked/)
  locker.close()
})
