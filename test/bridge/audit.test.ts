/** What the bridge brings to the audit trail: requests and refused calls. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuditedAct } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import { systemClock } from '#runtime/clock.ts'
import { type RefusedCall, RefusedCalls } from '../../services/bridge/refused-calls.ts'
import { until } from '../until.ts'
import { Ground } from './ground.ts'

test('an entry names the request, by the caller’s id or one of the bridge', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const given = await ground.send(a, { headers: { 'x-request-id': 'my-request-1' } })
  assert.equal(given.status, 200, given.text)
  await ground.send(a)
  const token = await ground.send(a, { headers: { 'x-request-id': a.token } })
  assert.equal(token.status, 200)
  assert.equal(JSON.stringify(await ground.store.audit(0, 10)).includes(a.token), false, 'a token is no id')
  const sends = (await ground.store.audit(0, 10)).filter(({ action }) => action === 'send')
  assert.equal(sends[0]?.request, 'my-request-1')
  assert.match(sends[1]?.request ?? 'none', /^[0-9a-f]{8}-\d+$/)
  for (const { latencyMs } of sends) assert.ok(latencyMs !== null && latencyMs >= 0 && latencyMs < 10_000)
})

test('a wrong token is refused, and in the audit with the id that the caller was told', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const answer = await ground.send({ ...a, token: 'f'.repeat(64) })
  assert.equal(answer.status, 401)
  const refusals = async () => (await ground.store.audit(0, 100)).filter(({ action }) => action === 'calls_refused')
  await until('an entry of refused calls', async () => (await refusals()).length > 0)
  const [entry] = await refusals()
  assert.deepEqual([entry?.actor, entry?.result], ['bridge', 'unauthenticated'])
  assert.deepEqual(entry?.details.calls, [
    {
      code: 'unauthenticated',
      what: '/v1/send',
      who: '127.0.0.1',
      session: a.session,
      request: answer.json.id,
      count: 1,
    },
  ])
})

test('what was refused last is recorded when the bridge stops', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  await ground.send({ ...a, token: 'f'.repeat(64) })
  await until('a first entry', async () =>
    (await ground.store.audit(0, 100)).some(({ action }) => action === 'calls_refused'),
  )
  await ground.send({ ...a, token: '0'.repeat(64) })
  await ground.restart()
  const refusals = (await ground.store.audit(0, 100)).filter(({ action }) => action === 'calls_refused')
  assert.equal(refusals.length, 2, 'the second would have waited for a minute')
})

/** A store that keeps what is recorded, or fails. */
class Records {
  readonly acts: AuditedAct[] = []
  isFailing = false

  async record(act: AuditedAct): Promise<void> {
    if (this.isFailing) throw new S2Error('unavailable', 'the disk is full')
    this.acts.push(act)
  }

  get told(): number {
    const sum = (details: AuditedAct['details']): number =>
      (details.calls as { count: number }[]).reduce((all, { count }) => all + count, details.more as number)
    return this.acts.reduce((all, { details }) => all + sum(details), 0)
  }
}

const CALL: RefusedCall = {
  code: 'unauthenticated',
  what: `/v1/${'"'.repeat(95)}`,
  who: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  session: `${'c'.repeat(64)}/b`,
  request: 'r'.repeat(64),
}

test('a flood of refused calls is counted whole, and fills a few kilobytes a minute', async () => {
  let ms = 0
  const records = new Records()
  const refused = new RefusedCalls(records, { ...systemClock, now: () => ms, wall: () => ms })
  let noted = 0
  for (let second = 0; second < 600; second += 1) {
    for (let n = 0; n < 200; n += 1) {
      refused.note({ ...CALL, who: `${second}.${n % 100}` })
      refused.note({ ...CALL, code: 'not_found' })
      noted += 1
    }
    if (second === 100) records.isFailing = true
    await refused.round().catch(() => undefined)
    if (second === 200) records.isFailing = false
    ms += 1_000
  }
  await refused.flush()
  assert.ok(records.acts.length <= 11, `${records.acts.length} entries`)
  assert.equal(records.told, noted, 'none is lost, also while the store fails')
  for (const { details } of records.acts) assert.ok(JSON.stringify(details).length < 16_000)
})
