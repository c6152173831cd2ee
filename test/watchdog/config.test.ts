import assert from 'node:assert/strict'
import { test } from 'node:test'
import { INCIDENT_KINDS } from '#fleet/incident.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { readConfig } from '../../services/watchdog/config.ts'

function faultsOf(env: Readonly<Record<string, string>>): string {
  try {
    readConfig({ S2_STATE: '/tmp/s2', ...env })
    return ''
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.faults.join('\n')
  }
}

test('left alone it watches the database of its state folder by the numbers of the design', () => {
  const config = readConfig({ S2_STATE: '/srv/fleet' })
  assert.equal(config.storeUrl, 'sqlite:/srv/fleet/bridge.db')
  assert.deepEqual(
    [config.lateAfterMs, config.silentAfterMs, config.roundMs, config.watchMs, config.leaseMs, config.moveEveryMs],
    [15_000, 60_000, 60_000, 250, 60_000, 10_000],
  )
  assert.deepEqual([config.attemptsMax, config.alertExec, config.alertWebhook], [5, null, null])
  assert.ok(Object.isFrozen(config))
})

test('a silence that is too near to lateness is refused, with a good example', () => {
  const faults = faultsOf({ S2_LATE_AFTER: '50s', S2_SILENT_AFTER: '60s' })
  assert.match(faults, /S2_SILENT_AFTER=1m .*S2_LATE_AFTER=50s.*for example S2_SILENT_AFTER=200s/)
  assert.equal(faultsOf({ S2_SILENT_AFTER: '300s' }), '')
})

test('an agent that would be late between two beats is refused, with both values and a good example', () => {
  assert.match(
    faultsOf({ S2_LATE_AFTER: '4s' }),
    /S2_LATE_AFTER=4s .*2\.5 times S2_BEAT=5s.*for example S2_LATE_AFTER=15s/,
  )
  assert.match(faultsOf({ S2_LATE_AFTER: '12s' }), /S2_BEAT=5s/)
  assert.equal(faultsOf({ S2_LATE_AFTER: '12500ms' }), '')
  assert.equal(faultsOf({ S2_LATE_AFTER: '2500ms', S2_BEAT: '1s' }), '')
  assert.match(faultsOf({ S2_BEAT: '10s' }), /S2_LATE_AFTER=15s .*S2_BEAT=10s.*S2_LATE_AFTER=30s/)
})

test('a stall sooner than a worker has to tell of its work is refused, with both values and what to set', () => {
  assert.match(
    faultsOf({ S2_STALL_AFTER: '10s' }),
    /S2_STALL_AFTER=10s must be at least S2_LEASE=1m.*for example S2_STALL_AFTER=1m, or a shorter S2_LEASE here and on every worker/,
  )
  assert.match(faultsOf({ S2_LEASE: '20m' }), /S2_STALL_AFTER=15m must be at least S2_LEASE=20m/)
  assert.equal(faultsOf({ S2_STALL_AFTER: '1m' }), '')
  assert.equal(faultsOf({ S2_STALL_AFTER: '10s', S2_LEASE: '10s' }), '')
})

test('a watch that is too seldom for lateness is refused', () => {
  assert.match(
    faultsOf({ S2_BEAT: '200ms', S2_LATE_AFTER: '1s', S2_SILENT_AFTER: '4s', S2_WATCH: '2s' }),
    /S2_WATCH=2s .*S2_LATE_AFTER=1s/,
  )
})

test('an alert command is a shell line or a JSON list, and gets none of our settings', () => {
  const shell = readConfig({
    S2_STATE: '/tmp/s2',
    S2_ALERT_EXEC: 'cat > x',
    PATH: '/bin',
    S2_ALERT_WEBHOOK: 'https://x',
  })
  assert.deepEqual(shell.alertExec, { argv: ['/bin/sh', '-c', 'cat > x'], env: { PATH: '/bin' } })
  const list = readConfig({ S2_STATE: '/tmp/s2', S2_ALERT_EXEC: '["logger", "-t", "s2"]' })
  assert.deepEqual(list.alertExec?.argv, ['logger', '-t', 's2'])
  assert.match(faultsOf({ S2_ALERT_EXEC: '["logger"' }), /S2_ALERT_EXEC is not a JSON list; for example/)
  assert.match(faultsOf({ S2_ALERT_EXEC: '[1]' }), /S2_ALERT_EXEC must be a JSON list of texts/)
})

test('a webhook must be http or https, and its address is shown in no fault', () => {
  const faults = faultsOf({ S2_ALERT_WEBHOOK: 'ftp://canary.example/hook' })
  assert.match(faults, /S2_ALERT_WEBHOOK/)
  assert.doesNotMatch(faults, /canary/)
})

test('the kinds that people are alerted of are all, a list, or all but some; unknown ones are refused', () => {
  const kinds = (text?: string): string[] => {
    const more = text === undefined ? {} : { S2_ALERT_ON: text }
    return [...readConfig({ S2_STATE: '/tmp/s2', ...more }).alertOn]
  }
  assert.deepEqual(kinds(), [...INCIDENT_KINDS])
  assert.deepEqual(kinds('all'), [...INCIDENT_KINDS])
  assert.deepEqual(kinds('gone, silent'), ['silent', 'gone'])
  const others = INCIDENT_KINDS.filter((kind) => kind !== 'twins')
  assert.deepEqual(kinds('-twins'), others)
  assert.deepEqual(kinds('all,-twins'), others)
  assert.match(faultsOf({ S2_ALERT_ON: 'silent,lost,-found' }), /S2_ALERT_ON names lost, -found, .* silent, gone, /)
})
