/** What the bridge brings to the audit trail: requests, refused calls, and heads that are kept elsewhere. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { AuditedAct } from '#fleet/audit.ts'
import { type AuditHead, isHeadSigned, readHead, type SignedHead } from '#fleet/audit-head.ts'
import { S2Error } from '#fleet/errors.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { AuditHeads, type HeadPlace, openAuditKey, webhookPlace } from '../../services/bridge/audit-heads.ts'
import { gitPlace } from '../../services/bridge/git-head-place.ts'
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

class Folder implements Disposable {
  readonly path: string

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 's2-heads-'))
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true })
  }
}

/** A store whose chain ends where the test says. */
class Chain {
  head: AuditHead = { store: '0123456789abcdef', seq: 1, hash: '1'.repeat(64), at: 1 }

  async auditHead(): Promise<AuditHead> {
    return this.head
  }

  goOnTo(seq: number): void {
    this.head = { ...this.head, seq, hash: String(seq % 10).repeat(64), at: seq }
  }
}

function headParts() {
  return { clock: systemClock, log: recordingLog(), draining: new AbortController().signal }
}

function linesOf(folder: Folder): SignedHead[] {
  const text = readFileSync(join(folder.path, 'audit-heads.jsonl'), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => readHead(line) as SignedHead)
}

test('each new head is signed and kept, here and at every place', async () => {
  using folder = new Folder()
  const chain = new Chain()
  const taken: number[] = []
  let isOpen = true
  const place: HeadPlace = {
    name: 'post',
    keep: async ({ seq }) => {
      if (!isOpen) throw new Error('nobody answers')
      taken.push(seq)
    },
  }
  const parts = headParts()
  const heads = new AuditHeads(folder.path, chain, await openAuditKey(folder.path), [place], parts)
  assert.equal(await heads.round(), 60_000)
  await heads.round()
  assert.deepEqual([taken, linesOf(folder).length], [[1], 1], 'nothing new, nothing told')
  isOpen = false
  chain.goOnTo(5)
  await heads.round()
  assert.equal(parts.log.records.at(-1)?.event, 'audit head not kept, retrying')
  isOpen = true
  await heads.round()
  assert.deepEqual(taken, [1, 5])
  const kept = linesOf(folder)
  assert.deepEqual(
    kept.map(({ seq }) => seq),
    [1, 5],
  )
  assert.ok(kept.every(isHeadSigned))
  assert.equal(statSync(join(folder.path, 'audit-key')).mode & 0o777, 0o600)
  assert.equal(statSync(join(folder.path, 'audit-heads.jsonl')).mode & 0o777, 0o600)
  const again = new AuditHeads(folder.path, chain, await openAuditKey(folder.path), [], parts)
  chain.goOnTo(3)
  await again.round()
  assert.equal(parts.log.records.at(-1)?.event, 'audit chain was taken back')
  assert.equal(linesOf(folder).at(-1)?.key, kept[0]?.key, 'the key stays')
})

test('a webhook gets the head, and its refusal does not show its address', async () => {
  using folder = new Folder()
  const got: string[] = []
  let status = 204
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      got.push(body)
      response.writeHead(status).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const place = webhookPlace(new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hidden-path`))
  const chain = new Chain()
  const parts = headParts()
  const heads = new AuditHeads(folder.path, chain, await openAuditKey(folder.path), [place], parts)
  await heads.round()
  assert.deepEqual(readHead(got[0] ?? ''), linesOf(folder)[0])
  status = 500
  chain.goOnTo(2)
  await heads.round()
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
  await heads.round()
  assert.equal(parts.log.records.length, 2)
  assert.equal(JSON.stringify(parts.log.records).includes('hidden-path'), false)
})

test('a git remote gets heads as one commit on top of the other', async () => {
  using folder = new Folder()
  const remote = join(folder.path, 'remote.git')
  execFileSync('git', ['init', '--quiet', '--bare', remote])
  const env = { PATH: process.env.PATH, HOME: folder.path }
  const place = gitPlace(remote, { clock: systemClock, chance: systemChance, env })
  const chain = new Chain()
  const parts = headParts()
  const heads = new AuditHeads(folder.path, chain, await openAuditKey(folder.path), [place], parts)
  await heads.round()
  chain.goOnTo(2)
  await heads.round()
  assert.deepEqual(parts.log.records, [])
  const git = (...args: string[]): string => execFileSync('git', ['-C', remote, ...args], { encoding: 'utf8' })
  const branch = 's2-audit-0123456789abcdef'
  assert.equal(git('rev-list', '--count', branch).trim(), '2')
  assert.deepEqual(readHead(git('show', `${branch}:head.json`)), linesOf(folder)[1])
})
