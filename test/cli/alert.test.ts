/** `s2 alert test`: the watchdog that runs sends the alerts, with its own settings. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openStore } from '#store/open-store.ts'
import { mainOf, Program } from '../program.ts'
import { run } from './run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-alert-test-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }

test('each channel of the running watchdog gets one, and the command says what became of it', async () => {
  const state = join(folder, 'one')
  await openStore(`sqlite:${state}/bridge.db`, parts).then((store) => store[Symbol.asyncDispose]())
  await using watchdog = new Program(mainOf('watchdog'), {
    S2_STATE: state,
    S2_ALERT_ON: 'gone',
    S2_ALERT_EXEC: `cat >> ${join(folder, 'alerts')}`,
    S2_ALERT_WEBHOOK: 'http://127.0.0.1:1/hush',
  })
  await watchdog.says('ready')
  const { code, out, err } = await run(['alert', 'test'], { env: { S2_STATE: state } })
  assert.deepEqual([code, err], [1, ''])
  const rows = [
    /^CHANNEL +TOOK +OUTCOME$/m,
    /^log +\S+ +told$/m,
    /^exec +\S+ +told$/m,
    /^webhook +\S+ +failed: .*ECONNREFUSED$/m,
  ]
  for (const row of rows) assert.match(out, row)
  assert.doesNotMatch(out, /hush/)
  const told = JSON.parse(readFileSync(join(folder, 'alerts'), 'utf8')) as Record<string, unknown>
  assert.deepEqual([told.event, told.kind, told.incident], ['test', 'test', 0])
  assert.match(String(told.text), /^S2 test alert: nothing is wrong; /)
  assert.equal(watchdog.eventsOf('alert tested').length, 1)
  const json = JSON.parse((await run(['alert', 'test', '--json'], { env: { S2_STATE: state } })).out) as object[]
  assert.deepEqual(
    json.map((each) => ({ ...each, tookMs: 0 })),
    [
      { channel: 'log', outcome: 'told', why: null, tookMs: 0 },
      { channel: 'exec', outcome: 'told', why: null, tookMs: 0 },
      { channel: 'webhook', outcome: 'failed', why: 'the webhook was not reached: ECONNREFUSED', tookMs: 0 },
    ],
  )
})

test('without a watchdog the command fails and says what to look at', async () => {
  const { code, out, err } = await run(['alert', 'test'], { env: { S2_STATE: join(folder, 'two') } })
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /the watchdog with the state folder .*two does not answer: none runs\n {2}next: s2 health watchdog/)
})
