/** Where guarded commands are written down: bounded on this host, and once in the audit of the fleet. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { publishCredential } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import { LOG_MAX, recordAct, WAITING_MAX } from '../../services/cli/guard/journal.ts'
import { credential } from '../core/spool/sample.ts'

class Host implements Disposable {
  readonly state = mkdtempSync(join(tmpdir(), 's2-guard-journal-'))
  readonly guard = join(this.state, 'guard')

  async holders(): Promise<SessionId[]> {
    const entries = await new Outbox(this.state).list()
    return entries.map(({ item }) => (item.kind === 'act' ? item.holder : assert.fail('no act')))
  }

  [Symbol.dispose](): void {
    rmSync(this.state, { recursive: true })
  }
}

const NOW = 1_000_000
const refused = { action: 'refused', details: { why: 'a test' } } as const

test('a host with the ends of many sessions tells the fleet once', async () => {
  using host = new Host()
  const sessions = Array.from({ length: 5 }, (_, n) => sessionId(`conv_000000000000000${n}`, 'a'))
  for (const [n, session] of sessions.entries())
    await publishCredential(host.state, credential({ session, expiresAt: n === 0 ? NOW : NOW + 1_000 }))
  await recordAct(host.state, refused, NOW)
  await recordAct(host.state, { action: 'started', details: {} }, NOW)
  assert.deepEqual(await host.holders(), [sessions[1], sessions[1]], 'by the same one, whose credential counts')
  await recordAct(host.state, refused, NOW + 2_000)
  assert.equal((await host.holders()).length, 3, 'where all have lapsed, the bridge judges')
})

test('the log has a bound, and one former file', async () => {
  using host = new Host()
  await recordAct(host.state, refused, NOW)
  for (let round = 0; round < 3; round += 1) {
    truncateSync(join(host.guard, 'log'), LOG_MAX + round)
    await recordAct(host.state, refused, NOW)
  }
  assert.deepEqual(readdirSync(host.guard).sort(), ['log', 'log.1'])
  assert.equal(statSync(join(host.guard, 'log.1')).size, LOG_MAX + 2)
  assert.equal(readFileSync(join(host.guard, 'log'), 'utf8').split('\n').length, 2)
})

test('refused acts do not fill the outbox of a host whose bridge is away', async () => {
  using host = new Host()
  await publishCredential(host.state, credential({ expiresAt: NOW + 1_000 }))
  await Promise.all(Array.from({ length: WAITING_MAX }, () => recordAct(host.state, refused, NOW)))
  await recordAct(host.state, refused, NOW)
  assert.equal((await host.holders()).length, WAITING_MAX)
  await recordAct(host.state, { action: 'ended', details: {} }, NOW)
  assert.equal((await host.holders()).length, WAITING_MAX + 1, 'what was run is told all the same')
})
