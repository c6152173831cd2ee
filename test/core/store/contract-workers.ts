/** The promise of `Store` about workers, part of the suite for every backend. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { hashOfSecret } from '#fleet/credential.ts'
import { sessionId } from '#fleet/session-id.ts'
import { JOIN_REQUESTS_MAX, type Worker } from '#fleet/worker.ts'
import type { Store } from '#store/store.ts'
import type { MovableClock } from '../../movable-clock.ts'

export type ProveWorkers = (
  title: string,
  body: (fleet: { readonly store: Store; readonly clock: MovableClock }) => Promise<void>,
  ...needs: (keyof Store)[]
) => void

const LIFETIME_MS = 3_600_000
const HOUR_MS = 3_600_000

/** A public key and a recipient of their form; whose they are makes no difference to a store. */
function keysOf(name: string): { readonly key: string; readonly recipient: string } {
  const digest = createHash('sha256').update(name).digest()
  const bech32 = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
  const tail = Array.from({ length: 58 }, (_, index) => bech32[(digest[index % 32] as number) % 32]).join('')
  return { key: digest.toString('base64url'), recipient: `age1${tail}` }
}

function secretHash(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url')
}

async function invited(store: Store, clock: MovableClock, secret = 'one', agent = 's2-worker-3'): Promise<Worker> {
  return await store.inviteWorker({
    agent,
    role: 'tests',
    secretHash: secretHash(secret),
    endsAt: clock.wall() + HOUR_MS,
  })
}

async function admitted(
  store: Store,
  host = 'host',
  over: Partial<Parameters<Store['admitWorker']>[0]> = {},
): Promise<Worker> {
  return await store.admitWorker({
    agent: 's2-worker-3',
    ...keysOf(host),
    host,
    secretHash: null,
    role: 'tests',
    orchestrator: 'orchestrator',
    lifetimeMs: LIFETIME_MS,
    ...over,
  })
}

/** Lets a worker take the end b of a conversation. */
async function adopted(
  store: Store,
  clock: MovableClock,
  conversation: string,
  agent = 's2-worker-3',
): Promise<Worker> {
  const endsAt = clock.wall() + HOUR_MS
  return await store.inviteWorker({ agent, role: 'tests', secretHash: secretHash(agent), endsAt, conversation })
}

/** A conversation of agents that are no workers. */
async function openForeign(store: Store, lifetimeMs = LIFETIME_MS): Promise<string> {
  const roles = { a: 'boss', b: 'worker-3-tests' }
  return (await store.openConversation({ roles, agents: { a: 'boss', b: 'script' }, lifetimeMs })).id
}

export function proveWorkers(prove: ProveWorkers): void {
  prove(
    'an invitation lets one host join, once, and answers it again',
    async ({ store, clock }) => {
      const waiting = await invited(store, clock)
      assert.equal(waiting.joinedAt, null)
      const worker = await admitted(store, 'host', { secretHash: secretHash('one'), role: null })
      assert.equal(worker.role, 'tests')
      assert.equal(worker.key, keysOf('host').key)
      const [conversation] = await store.conversations()
      assert.deepEqual(conversation?.agents, { a: 'orchestrator', b: 's2-worker-3' })
      assert.equal(conversation?.id, worker.conversation)
      assert.deepEqual(await admitted(store, 'host', { secretHash: secretHash('one'), role: null }), worker)
      await assert.rejects(admitted(store, 'thief', { secretHash: secretHash('one') }), { code: 'conflict' })
      await assert.rejects(admitted(store, 'thief', { secretHash: secretHash('guessed') }), { code: 'forbidden' })
      await assert.rejects(admitted(store, 'host', { agent: 's2-worker-4', secretHash: secretHash('one') }), {
        code: 'forbidden',
      })
      assert.equal((await store.workers()).length, 1)
    },
    'inviteWorker',
  )

  prove(
    'what a host refuses is kept until it is over, its host is another one, or the worker is revoked',
    async ({ store }) => {
      const worker = await admitted(store)
      const session = sessionId(worker.conversation ?? '', 'b')
      const refusal = async () => (await store.workers())[0]?.refusal
      const head = async () => (await store.auditHead()).seq
      assert.equal(await refusal(), null)
      await store.noteRefusal(session, 'not signed by sk-ant-api03-AbCdEf0123456789AbCdEf0123456789')
      assert.match((await refusal()) ?? '', /^not signed by /)
      assert.doesNotMatch((await refusal()) ?? '', /AbCdEf/)
      const before = await head()
      await store.noteRefusal(session, 'not signed by sk-ant-api03-AbCdEf0123456789AbCdEf0123456789')
      for (const other of ['in other words', `${'x'.repeat(299)}\u{1f600}`, 'a\nline\u202e'])
        for (let again = 0; again < 2; again += 1) await store.noteRefusal(session, other)
      assert.equal(await refusal(), 'a line ')
      assert.equal(await head(), before, 'the same again, and the same in other words, is no act')
      await store.noteRefusal(sessionId(worker.conversation ?? '', 'a'), null)
      await store.noteRefusal(sessionId('conv_00000000000000aa', 'b'), null)
      assert.notEqual(await refusal(), null, 'nobody else says that it is over')
      await store.noteRefusal(session, null)
      assert.equal(await refusal(), null)
      await store.noteRefusal(session, 'again')
      assert.equal((await store.renameWorker('s2-worker-3', { role: 'docs' })).refusal, 'again')
      assert.equal((await admitted(store, 'other')).refusal, null)
      await store.noteRefusal(session, 'again')
      assert.equal((await store.revokeWorker('s2-worker-3')).refusal, null)
    },
    'noteRefusal',
  )

  prove(
    'an invitation ends',
    async ({ store, clock }) => {
      await invited(store, clock)
      clock.pass(HOUR_MS)
      await assert.rejects(admitted(store, 'host', { secretHash: secretHash('one') }), { code: 'expired' })
    },
    'inviteWorker',
  )

  prove(
    'a new machine of a known worker takes its place: same conversation, new keys, no old token counts',
    async ({ store, clock }) => {
      const before = await admitted(store, 'old machine')
      const session = sessionId(before.conversation ?? '', 'b')
      const tokens = await store.tokens(session)
      clock.pass(1_000)
      await invited(store, clock)
      const after = await admitted(store, 'new machine', { secretHash: secretHash('one') })
      assert.equal(after.conversation, before.conversation)
      assert.ok(after.serial > before.serial)
      assert.ok(!(await store.tokens(session)).some((each) => tokens.includes(each)))
      assert.equal((await store.workers()).length, 1)
    },
    'inviteWorker',
  )

  prove(
    'one key is one worker',
    async ({ store }) => {
      await admitted(store, 'host')
      await assert.rejects(admitted(store, 'host', { agent: 's2-worker-4' }), { code: 'conflict' })
    },
    'inviteWorker',
  )

  prove(
    'new tokens are for both ends, with an overlap, and a confirmed one ends the one before',
    async ({ store, clock }) => {
      const { conversation, serial } = await admitted(store)
      const [a, b] = [sessionId(conversation ?? '', 'a'), sessionId(conversation ?? '', 'b')]
      const before = { a: (await store.tokens(a))[0], b: (await store.tokens(b))[0] }
      clock.pass(10)
      const issued = await store.issueTokens('s2-worker-3', 60_000, LIFETIME_MS)
      assert.ok(issued.serial > serial)
      for (const [session, old] of [
        [a, before.a],
        [b, before.b],
      ] as const) {
        const [now, former] = await store.tokens(session)
        assert.notEqual(now, old)
        assert.equal(former, old)
      }
      await store.confirmToken(b, hashOfSecret(before.b ?? ''))
      assert.equal((await store.tokens(b)).length, 2, 'an old token confirms nothing')
      await store.confirmToken(b, hashOfSecret((await store.tokens(b))[0] ?? ''))
      assert.equal((await store.tokens(b)).length, 1)
      assert.equal((await store.tokens(a)).length, 2, 'the other end has not said so')
      clock.pass(60_001)
      assert.equal((await store.tokens(a)).length, 1)
    },
    'inviteWorker',
  )

  prove(
    'a conversation that has lapsed is revived under its id, and its old tokens count no more',
    async ({ store, clock }) => {
      const { conversation } = await admitted(store)
      const b = sessionId(conversation ?? '', 'b')
      const a = sessionId(conversation ?? '', 'a')
      const [old] = await store.tokens(b)
      await store.send(a, 'k', { text: 'before the night' })
      clock.pass(LIFETIME_MS * 10)
      await assert.rejects(store.tokens(b), { code: 'expired' })
      await store.issueTokens('s2-worker-3', 60_000, LIFETIME_MS)
      const tokens = await store.tokens(b)
      assert.equal(tokens.length, 1)
      assert.notEqual(tokens[0], old)
      assert.deepEqual(
        (await store.unacked(b, 0, 10)).map(({ text }) => text),
        ['before the night'],
      )
      assert.equal((await store.send(a, 'k', { text: 'before the night' })).text, 'before the night')
    },
    'inviteWorker',
    'send',
  )

  prove(
    'revoking ends all of a worker, and only an invitation brings it back, with a new conversation',
    async ({ store, clock }) => {
      const worker = await admitted(store)
      await store.notePublished('s2-worker-3', worker.serial, 'sealed')
      assert.equal(await store.publishedCredential(worker.key ?? ''), 'sealed')
      await store.revokeWorker('s2-worker-3')
      await store.revokeWorker('s2-worker-3')
      await assert.rejects(store.tokens(sessionId(worker.conversation ?? '', 'b')), { code: 'expired' })
      assert.equal(await store.publishedCredential(worker.key ?? ''), null)
      await assert.rejects(store.issueTokens('s2-worker-3', 0, LIFETIME_MS), { code: 'conflict' })
      clock.pass(5)
      await invited(store, clock)
      const again = await admitted(store, 'host', { secretHash: secretHash('one') })
      assert.notEqual(again.conversation, worker.conversation)
      assert.equal(again.revokedAt, null)
    },
    'inviteWorker',
  )

  prove(
    'no line lets back in who was revoked: neither the one that was used, nor one that was not',
    async ({ store, clock }) => {
      await invited(store, clock, 'used')
      await admitted(store, 'host', { secretHash: secretHash('used') })
      await invited(store, clock, 'unused')
      await store.revokeWorker('s2-worker-3')
      for (const secret of ['used', 'unused'])
        await assert.rejects(admitted(store, 'host', { secretHash: secretHash(secret) }), { code: 'forbidden' })
      assert.notEqual((await store.workers())[0]?.revokedAt, null)
    },
    'inviteWorker',
  )

  prove(
    'a line lets nobody back in who was replaced by another machine, or renamed',
    async ({ store, clock }) => {
      await invited(store, clock, 'first')
      await admitted(store, 'old machine', { secretHash: secretHash('first') })
      await invited(store, clock, 'second')
      await admitted(store, 'new machine', { secretHash: secretHash('second') })
      await assert.rejects(admitted(store, 'old machine', { secretHash: secretHash('first') }), { code: 'conflict' })
      assert.equal((await store.workers())[0]?.key, keysOf('new machine').key)
      await store.renameWorker('s2-worker-3', { agent: 'gpu-box' })
      await store.revokeWorker('gpu-box')
      await assert.rejects(admitted(store, 'new machine', { secretHash: secretHash('second') }), { code: 'forbidden' })
      assert.equal((await store.workers()).length, 1)
    },
    'inviteWorker',
  )

  prove(
    'a worker that is renamed has its credential until the new one is made',
    async ({ store }) => {
      const { key, serial } = await admitted(store)
      await store.notePublished('s2-worker-3', serial, 'sealed')
      await store.renameWorker('s2-worker-3', { agent: 'gpu-box' })
      assert.equal(await store.publishedCredential(key ?? ''), 'sealed')
    },
    'inviteWorker',
  )

  prove(
    'a worker is renamed, with its conversation',
    async ({ store, clock }) => {
      const { conversation, serial } = await admitted(store)
      clock.pass(5)
      const renamed = await store.renameWorker('s2-worker-3', { agent: 'gpu-box', role: 'models' })
      assert.ok(renamed.serial > serial, 'its credential names it, so it is made anew')
      const found = (await store.conversations()).find(({ id }) => id === conversation)
      assert.deepEqual([found?.agents.b, found?.roles.b], ['gpu-box', 'models'])
      await assert.rejects(store.renameWorker('s2-worker-3', { agent: 'x' }), { code: 'not_found' })
      await assert.rejects(store.renameWorker('gpu-box', { agent: '../x' }), { code: 'invalid' })
      await admitted(store, 'other', { agent: 'other' })
      await assert.rejects(store.renameWorker('gpu-box', { agent: 'other' }), { code: 'conflict' })
    },
    'inviteWorker',
  )

  prove(
    'no worker is called orchestrator: it could not be told from the agent that hands out the work',
    async ({ store, clock }) => {
      const refused = { code: 'invalid', message: /no worker may be called orchestrator/ }
      await assert.rejects(invited(store, clock, 'one', 'orchestrator'), refused)
      await assert.rejects(admitted(store, 'host', { agent: 'orchestrator' }), refused)
      await admitted(store)
      await assert.rejects(store.renameWorker('s2-worker-3', { agent: 'orchestrator' }), refused)
      assert.deepEqual(
        (await store.workers()).map(({ agent }) => agent),
        ['s2-worker-3'],
      )
    },
    'inviteWorker',
  )

  prove(
    'a conversation that others made is adopted: its other end keeps its token, for as long as the worker lives',
    async ({ store, clock }) => {
      const id = await openForeign(store, HOUR_MS / 2)
      const [a, b] = [sessionId(id, 'a'), sessionId(id, 'b')]
      const [tokenA] = await store.tokens(a)
      const [tokenB] = await store.tokens(b)
      const waiting = await adopted(store, clock, id)
      assert.deepEqual([waiting.conversation, waiting.joinedAt], [id, null])
      assert.deepEqual(await store.tokens(b), [tokenB], 'end b changes hands when the worker joins')
      await assert.rejects(store.issueTokens('s2-worker-3', 0, LIFETIME_MS), { code: 'conflict' })
      clock.pass(HOUR_MS - 1_000)
      assert.equal((await store.conversations()).length, 1, 'it lives for as long as its invitation counts')
      const worker = await admitted(store, 'host', { secretHash: secretHash('s2-worker-3'), role: null })
      assert.equal(worker.conversation, id)
      const [conversation] = await store.conversations()
      assert.deepEqual(conversation?.agents, { a, b: 's2-worker-3' })
      assert.deepEqual(await store.tokens(a), [tokenA])
      const [joined, ...others] = await store.tokens(b)
      assert.deepEqual([others, joined === tokenB], [[], false])
      clock.pass(5)
      await store.issueTokens('s2-worker-3', 60_000, LIFETIME_MS)
      assert.deepEqual(await store.tokens(a), [tokenA])
      assert.deepEqual((await store.tokens(b))[1], joined)
      clock.pass(10 * LIFETIME_MS)
      await store.issueTokens('s2-worker-3', 60_000, LIFETIME_MS)
      assert.deepEqual(await store.tokens(a), [tokenA], 'also where the conversation had ended meanwhile')
      assert.ok(!(await store.tokens(b)).includes(joined ?? ''))
      await store.revokeWorker('s2-worker-3')
      await assert.rejects(store.tokens(a), { code: 'expired' }, 'an end that has joined is ended for both')
    },
    'inviteWorker',
  )

  prove(
    'a conversation is adopted by one worker, which has none of its own',
    async ({ store, clock }) => {
      const id = await openForeign(store)
      await assert.rejects(adopted(store, clock, 'conv_00000000000000aa'), { code: 'not_found' })
      await assert.rejects(adopted(store, clock, 'observer_00000000000000aa'), { code: 'invalid' })
      const own = await admitted(store, 'own host', { agent: 'has-its-own' })
      await assert.rejects(adopted(store, clock, id, 'has-its-own'), { code: 'conflict', message: /of its own/ })
      await assert.rejects(adopted(store, clock, own.conversation ?? ''), { code: 'conflict', message: /has-its-own/ })
      const roles = { a: 'orchestrator', b: 'tests' }
      const agents = { a: 'orchestrator', b: 'script' }
      const ours = await store.openConversation({ roles, agents, lifetimeMs: LIFETIME_MS })
      await assert.rejects(adopted(store, clock, ours.id), { code: 'conflict', message: /made by S2/ })

      await adopted(store, clock, id)
      await adopted(store, clock, id)
      await assert.rejects(adopted(store, clock, id, 's2-worker-4'), {
        code: 'conflict',
        message: /s2-worker-3 already/,
      })
      await store.renameWorker('s2-worker-3', { agent: 'gpu-box' })
      assert.equal((await store.conversations()).find((each) => each.id === id)?.agents.b, 'script')
      await store.revokeWorker('gpu-box')
      assert.equal((await store.tokens(sessionId(id, 'b'))).length, 1, 'revoked before it joined, it ends nothing')
      await adopted(store, clock, id, 's2-worker-4')
      await admitted(store, 'host', { agent: 's2-worker-4' })
      await assert.rejects(adopted(store, clock, id, 's2-worker-4'), { code: 'conflict', message: /already/ })
      await store.endConversation(id)
      await assert.rejects(adopted(store, clock, id, 's2-worker-5'), { code: 'expired' })
    },
    'inviteWorker',
  )

  prove(
    'an older publication changes nothing',
    async ({ store, clock }) => {
      const { serial, key } = await admitted(store)
      clock.pass(5)
      const { serial: later } = await store.issueTokens('s2-worker-3', 0, LIFETIME_MS)
      await store.notePublished('s2-worker-3', later, 'new')
      await store.notePublished('s2-worker-3', serial, 'old')
      assert.equal(await store.publishedCredential(key ?? ''), 'new')
    },
    'inviteWorker',
  )

  prove(
    'requests to join wait, have an outcome, and are bounded',
    async ({ store, clock }) => {
      const id = await store.submitJoin('first')
      assert.equal(await store.submitJoin('first'), id)
      assert.deepEqual(await store.joinOutcome(id), { state: 'waiting', why: null })
      assert.deepEqual(
        (await store.joinRequests()).map(({ sealed }) => sealed),
        ['first'],
      )
      await store.settleJoin(id, 'refused', 'no such invitation')
      await store.settleJoin(id, 'admitted', null)
      assert.deepEqual(await store.joinOutcome(id), { state: 'refused', why: 'no such invitation' })
      assert.deepEqual(await store.joinRequests(), [])
      assert.equal((await store.joinOutcome('0'.repeat(64))).state, 'unknown')
      for (let index = 0; index < JOIN_REQUESTS_MAX + 5; index += 1) {
        clock.pass(1)
        await store.submitJoin(`many${index}`)
      }
      const kept = await store.joinRequests()
      assert.equal(kept.length, JOIN_REQUESTS_MAX)
      assert.equal(kept.at(-1)?.sealed, `many${JOIN_REQUESTS_MAX + 4}`, 'the oldest go')
    },
    'inviteWorker',
  )

  prove(
    'what was refused makes room before what waits or was admitted',
    async ({ store, clock }) => {
      const waiting = await store.submitJoin('honest')
      for (let index = 0; index < JOIN_REQUESTS_MAX + 5; index += 1) {
        clock.pass(1)
        await store.settleJoin(await store.submitJoin(`junk${index}`), 'refused', 'nonsense')
      }
      assert.equal((await store.joinOutcome(waiting)).state, 'waiting')
    },
    'inviteWorker',
  )

  prove(
    'outcomes of requests that came by git are bounded too',
    async ({ store, clock }) => {
      const idOf = (index: number): string => createHash('sha256').update(String(index)).digest('hex')
      for (let index = 0; index < JOIN_REQUESTS_MAX + 5; index += 1) {
        clock.pass(1)
        await store.settleJoin(idOf(index), 'refused', 'nobody asked')
      }
      const states = await Promise.all([0, 4, 5].map(async (index) => (await store.joinOutcome(idOf(index))).state))
      assert.deepEqual(states, ['unknown', 'unknown', 'refused'])
    },
    'inviteWorker',
  )
}
