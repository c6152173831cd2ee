/**
 * The promise of `Store`, put to the proof: one suite for every backend. A file of one line runs it on each.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AUDIT_ROOT, type AuditEntry, auditHash } from '#fleet/audit.ts'
import type { Beat } from '#fleet/beat.ts'
import { hashedEntryOf } from '#fleet/chain-check.ts'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import type { Alert, NewIncident } from '#fleet/incident.ts'
import { FILES_MAX, KEY_MAX, type Message, NAME_MAX, type StoredMessage, TEXT_MAX } from '#fleet/message.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import {
  DESCRIPTION_MAX,
  type MoveReason,
  type NewTask,
  PROGRESS_MAX,
  type Report,
  TAIL_MAX,
  type Task,
  type TaskResult,
} from '#fleet/task.ts'
import { countedAttempts } from '#fleet/task-attempts.ts'
import { readTaskMessage, type TaskMessage } from '#fleet/task-messages.ts'
import { EVIDENCE_MAX } from '#fleet/task-ownership.ts'
import type { Usage } from '#fleet/usage.ts'
import type { Verdict } from '#fleet/verdict.ts'
import { systemChance } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import type { Store, StoreParts } from '#store/store.ts'
import { MovableClock } from '../../movable-clock.ts'
import { singly } from '../../singly.ts'
import { proveDeliveries } from './contract-deliveries.ts'
import { provePeers } from './contract-peers.ts'
import { provePlaces } from './contract-places.ts'
import { proveReservations } from './contract-reservations.ts'
import { proveStatuses } from './contract-statuses.ts'
import { proveWorkers } from './contract-workers.ts'

/** A store that was opened for one test, and all that was started for it. */
export interface Ground extends AsyncDisposable {
  /** As administration: every verb that the backend offers. */
  readonly store: Store
  /** As one session, where the backend makes a difference. */
  as?(session: SessionId, token: string): Store
}

/** Opens an empty store. The clock's waits are real; its wall clock is moved by the suite. */
export type OpenGround = (parts: StoreParts) => Promise<Ground>

export interface ContractOptions {
  /** Verbs that this backend does not offer to anybody; what needs them is left out. */
  readonly without?: readonly (keyof Store)[]
}

export function contract(name: string, open: OpenGround, { without = [] }: ContractOptions = {}): void {
  const prove: Prove = (title, body, ...needs) => {
    const missing = needs.filter((verb) => without.includes(verb))
    const skip = missing.length > 0 ? `does not offer ${missing.join(', ')}` : false
    test(title, { skip }, async () => {
      await using fleet = await Fleet.open(open)
      await body(fleet)
    })
  }
  suite(`${name}: conversations`, () => proveConversations(prove))
  suite(`${name}: hints of credentials`, () => proveHints(prove))
  suite(`${name}: workers`, () => proveWorkers(prove))
  suite(`${name}: messages`, () => proveMessages(prove))
  suite(`${name}: messages between workers`, () => provePeers(prove))
  suite(`${name}: deliveries`, () => proveDeliveries(prove))
  suite(`${name}: mail`, () => proveMail(prove))
  suite(`${name}: traffic`, () => proveTraffic(prove))
  suite(`${name}: liveness`, () => proveLiveness(prove))
  suite(`${name}: statuses`, () => proveStatuses(prove))
  suite(`${name}: places`, () => provePlaces(prove))
  suite(`${name}: tasks`, () => proveTasks(prove))
  suite(`${name}: leases and reports`, () => proveReports(prove))
  suite(`${name}: moves`, () => proveMoves(prove))
  suite(`${name}: letters of foreign agents`, () => proveLetters(prove))
  suite(`${name}: reservations of files`, () => proveReservations(prove))
  suite(`${name}: incidents`, () => proveIncidents(prove))
  suite(`${name}: the audit chain`, () => proveAudit(prove))
  suite(`${name}: upkeep`, () => proveUpkeep(prove))
}

type Prove = (title: string, body: (fleet: Fleet) => Promise<void>, ...needs: (keyof Store)[]) => void

const LIFETIME_MS = 3_600_000

/** A store under test, and shorthand for what tests do with it. */
class Fleet implements AsyncDisposable {
  readonly clock: MovableClock
  readonly store: Store
  readonly #ground: Ground
  readonly #stop = new AbortController()
  #keys = 0

  constructor(ground: Ground, clock: MovableClock) {
    this.#ground = ground
    this.store = ground.store
    this.clock = clock
  }

  static async open(open: OpenGround): Promise<Fleet> {
    const clock = new MovableClock()
    return new Fleet(await open({ clock, chance: systemChance, log: recordingLog() }), clock)
  }

  /** Aborts when the test is over. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** A channel between the orchestrator and a worker. */
  async channel(worker = 's2-worker-1', role = 'tests', lead = 'orchestrator'): Promise<Channel> {
    const opened = await this.store.openConversation({
      roles: { a: 'orchestrator', b: role },
      agents: { a: lead, b: worker },
      lifetimeMs: LIFETIME_MS,
    })
    return { id: opened.id, opened, a: this.#end(opened, 'a'), b: this.#end(opened, 'b') }
  }

  key(): string {
    this.#keys += 1
    return `key-${this.#keys}`
  }

  task(fields: Partial<NewTask> = {}): Promise<Task> {
    return this.store.addTask({ ...TASK, id: `task-${this.key()}`, ...fields })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#ground[Symbol.asyncDispose]()
  }

  #end(opened: OpenedConversation, side: 'a' | 'b'): End {
    const session = sessionId(opened.id, side)
    return { session, store: this.#ground.as?.(session, opened.tokens[side]) ?? this.store }
  }
}

/** One end of a conversation, and the store as it sees it. */
interface End {
  readonly session: SessionId
  readonly store: Store
}

interface Channel {
  readonly id: string
  readonly opened: OpenedConversation
  readonly a: End
  readonly b: End
}

const TASK: Omit<NewTask, 'id'> = {
  description: 'count the files',
  priority: 'P2',
  role: 'tests',
  holder: null,
  deadline: null,
  createdBy: null,
}

const RESULT: TaskResult = { exitCode: 0, signal: null, tail: '42 files' }

function report(task: Pick<Task, 'id' | 'epoch'>, fields: Partial<Report> = {}): Report {
  return { task: task.id, epoch: task.epoch, state: 'in_progress', progress: null, result: null, ...fields }
}

function done(task: Pick<Task, 'id' | 'epoch'>): Report {
  return report(task, { state: 'completed', result: RESULT })
}

async function refused(code: Code, asked: Promise<unknown>): Promise<void> {
  await assert.rejects(asked, (error) => {
    assert.ok(error instanceof S2Error, `no S2Error: ${String(error)}`)
    assert.equal(error.code, code, error.message)
    assert.notEqual(error.message, '')
    return true
  })
}

async function unread({ session, store }: End, after = 0): Promise<StoredMessage[]> {
  return await store.unacked(session, after, 10_000)
}

async function texts(end: End): Promise<string[]> {
  return (await unread(end)).map(({ text }) => text)
}

/** The letters that S2 wrote to a session, in order. */
async function letters(end: End): Promise<TaskMessage[]> {
  const messages = await unread(end)
  return messages
    .map(({ action, text }) => ({ action, said: readTaskMessage(text) }))
    .flatMap(({ action, said }) => (said !== null && action === said.type ? said : []))
}

async function take<T>(source: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  while (taken.length < count) {
    const next = await source.next()
    if (next.done === true) break
    taken.push(next.value)
  }
  return taken
}

function idsOf(messages: readonly Pick<Message, 'id'>[]): number[] {
  return messages.map(({ id }) => id)
}

function isRising(numbers: readonly number[]): boolean {
  return numbers.every((number, index) => index === 0 || number > (numbers[index - 1] as number))
}

function proveConversations(prove: Prove): void {
  prove('opening one answers its two tokens, and no other answer has them', async (fleet) => {
    const { opened } = await fleet.channel('s2-worker-7', 'deploy')
    assert.match(opened.id, /^conv_[0-9a-f]{16}$/)
    assert.match(opened.tokens.a, /^[0-9a-f]{64}$/)
    assert.match(opened.tokens.b, /^[0-9a-f]{64}$/)
    assert.notEqual(opened.tokens.a, opened.tokens.b)
    assert.deepEqual(opened.agents, { a: 'orchestrator', b: 's2-worker-7' })
    assert.ok(Math.abs(opened.expiresAt - opened.createdAt - LIFETIME_MS) < 1)
    const listed = await fleet.store.conversations()
    const { tokens, ...conversation } = opened
    assert.deepEqual(listed, [conversation])
    assert.equal(JSON.stringify(listed).includes(tokens.a), false)
  })

  prove('they are listed by age, without those that ended', async (fleet) => {
    const first = await fleet.channel('w-1')
    fleet.clock.pass(300_000)
    const second = await fleet.channel('w-2')
    fleet.clock.pass(300_000)
    const third = await fleet.channel('w-3')
    await fleet.store.endConversation(second.id)
    const ids = async (): Promise<string[]> => (await fleet.store.conversations()).map(({ id }) => id)
    assert.deepEqual(await ids(), [first.id, third.id])
    fleet.clock.pass(LIFETIME_MS - 450_000)
    assert.deepEqual(await ids(), [third.id])
  })

  prove('renewing puts the end off, and never nearer', async (fleet) => {
    const { id, opened } = await fleet.channel()
    const nearer = await fleet.store.renewConversation(id, 1_000)
    assert.equal(nearer.expiresAt, opened.expiresAt)
    const later = await fleet.store.renewConversation(id, 2 * LIFETIME_MS)
    assert.ok(later.expiresAt >= opened.expiresAt + LIFETIME_MS)
    fleet.clock.pass(1.5 * LIFETIME_MS)
    assert.deepEqual(await fleet.store.conversations(), [later])
    fleet.clock.pass(LIFETIME_MS)
    await refused('expired', fleet.store.renewConversation(id, LIFETIME_MS))
    await refused('not_found', fleet.store.renewConversation('conv_0000000000000000', LIFETIME_MS))
  })

  prove(
    'ending one voids its tokens; ending twice is ending once',
    async (fleet) => {
      const { id, a } = await fleet.channel()
      await fleet.store.endConversation(id)
      await fleet.store.endConversation(id)
      await refused('expired', fleet.store.tokens(a.session))
      await refused('expired', fleet.store.renewConversation(id, LIFETIME_MS))
      await refused('expired', fleet.store.send(a.session, 'k', { text: 'too late' }))
      await refused('not_found', fleet.store.endConversation('conv_0000000000000000'))
    },
    'tokens',
  )

  prove(
    'a token may be rotated, and the one before overlaps',
    async (fleet) => {
      const { id, opened, a, b } = await fleet.channel()
      assert.deepEqual(await fleet.store.tokens(b.session), [opened.tokens.b])
      const second = await fleet.store.rotateToken(b.session, 60_000)
      assert.match(second, /^[0-9a-f]{64}$/)
      assert.deepEqual(await fleet.store.tokens(b.session), [second, opened.tokens.b])
      assert.deepEqual(await fleet.store.tokens(a.session), [opened.tokens.a], 'the other end keeps its own')
      const third = await fleet.store.rotateToken(b.session, 60_000)
      assert.deepEqual(await fleet.store.tokens(b.session), [third, second], 'older ones end at once')
      fleet.clock.pass(60_001)
      assert.deepEqual(await fleet.store.tokens(b.session), [third])
      const fourth = await fleet.store.rotateToken(b.session, 0)
      assert.deepEqual(await fleet.store.tokens(b.session), [fourth], 'without an overlap the last one ends at once')
      await fleet.store.endConversation(id)
      await refused('expired', fleet.store.rotateToken(b.session, 0))
      await refused('not_found', fleet.store.rotateToken('conv_0000000000000000/b', 0))
    },
    'tokens',
  )

  prove(
    'sessions that nobody knows have no tokens',
    async (fleet) => {
      await refused('not_found', fleet.store.tokens('conv_0000000000000000/a'))
      await refused('invalid', fleet.store.tokens('nonsense' as SessionId))
    },
    'tokens',
  )
}

const LIFE: Omit<Beat, 'session'> = { host: 'host-1', incarnation: 'life-1', seq: 1, work: 0 }

function proveHints(prove: Prove): void {
  /** Hints until a listener hears one: those that come before it listens are lost. */
  async function heard(fleet: Fleet, listener: AsyncIterator<readonly string[]>, ids: readonly string[]) {
    const next = listener.next()
    for (;;) {
      await fleet.store.hintCredentials(ids)
      const answer = await Promise.race([next, sleep(20)])
      if (answer !== undefined) return answer.value
    }
  }

  prove('a hint reaches who listens, and is forgotten', async (fleet) => {
    const one = await fleet.channel('w-1')
    const other = await fleet.channel('w-2')
    await one.b.store.beat([{ session: one.b.session, ...LIFE }]) // it is linked
    await fleet.store.hintCredentials([one.id])
    const listener = one.b.store.credentialHints(fleet.signal)[Symbol.asyncIterator]()
    const ids = await heard(fleet, listener, [one.id])
    assert.deepEqual(ids, [one.id])
    await fleet.store.hintCredentials([])
    await fleet.store.hintCredentials(['conv_0000000000000000', one.id, other.id])
    const told = new Set<string>()
    while (!told.has(one.id)) for (const id of (await listener.next()).value) told.add(id)
    if (one.b.store !== fleet.store) assert.deepEqual([...told], [one.id], 'only what is its own')
    await listener.return?.()
  })

  prove('a session hints at its own conversations and at no others', async (fleet) => {
    const one = await fleet.channel('w-1')
    const other = await fleet.channel('w-2')
    await other.b.store.beat([{ session: other.b.session, ...LIFE }])
    const listener = other.b.store.credentialHints(fleet.signal)[Symbol.asyncIterator]()
    assert.deepEqual(await heard(fleet, listener, [other.id]), [other.id])
    await one.a.store.hintCredentials([one.id, other.id]) // ends of one agent
    if (one.b.store !== fleet.store) await refused('forbidden', one.b.store.hintCredentials([one.id, other.id]))
    await one.b.store.hintCredentials([one.id])
    await listener.return?.()
  })

  prove('listening ends with its signal, and with the store', async (fleet) => {
    const over = new AbortController()
    const ended = fleet.store.credentialHints(over.signal)[Symbol.asyncIterator]().next()
    over.abort()
    assert.equal((await ended).done, true)
    const last = fleet.store.credentialHints(fleet.signal)[Symbol.asyncIterator]().next()
    await fleet.store[Symbol.asyncDispose]()
    assert.equal((await last).done, true)
    await refused('unavailable', fleet.store.hintCredentials([]))
  })
}

function proveMessages(prove: Prove): void {
  prove('a message reaches the partner whole', async (fleet) => {
    const { a, b } = await fleet.channel()
    const draft = {
      text: 'Grüße „here“ 🎛\n\t{"x":[1,\\u0041]} \u2028 end',
      action: 'review',
      files: ['a b.ts', 'ü.md'],
    }
    const sent = await a.store.send(a.session, fleet.key(), draft)
    assert.deepEqual(
      { from: sent.from, to: sent.to, text: sent.text, action: sent.action, files: sent.files },
      { from: a.session, to: b.session, ...draft },
    )
    assert.ok(Math.abs(sent.sentAt - fleet.clock.wall()) < 10_000)
    assert.deepEqual(await unread(b), [{ ...sent, delivery: 'queued' }])
    assert.deepEqual(await unread(a), [])
    const plain = await b.store.send(b.session, fleet.key(), { text: 'back' })
    assert.deepEqual([plain.action, plain.files], [null, []])
    assert.deepEqual(await unread(a), [{ ...plain, delivery: 'queued' }])
    assert.ok(plain.id > sent.id)
  })

  prove('one key of one sender is one message, for ever', async (fleet) => {
    const { a, b } = await fleet.channel()
    const first = await a.store.send(a.session, 'once', { text: 'hello' })
    const again = await a.store.send(a.session, 'once', { text: 'hello', action: null, files: [] })
    assert.deepEqual(again, first)
    await b.store.mark(b.session, [first.id], 'acked')
    fleet.clock.pass(LIFETIME_MS / 2)
    assert.deepEqual(
      await a.store.send(a.session, 'once', { text: 'hello' }),
      first,
      'also when it was received long ago',
    )
    assert.deepEqual(await unread(b), [])
    const other = await b.store.send(b.session, 'once', { text: 'hello' })
    assert.notEqual(other.id, first.id, 'keys belong to their sender')
  })

  prove('one key with another draft is a conflict, and sends nothing', async (fleet) => {
    const { a, b } = await fleet.channel()
    await a.store.send(a.session, 'k', { text: 'one' })
    await refused('conflict', a.store.send(a.session, 'k', { text: 'two' }))
    await refused('conflict', a.store.send(a.session, 'k', { text: 'one', action: 'x' }))
    await refused('conflict', a.store.send(a.session, 'k', { text: 'one', files: ['f'] }))
    assert.deepEqual(await texts(b), ['one'])
  })

  prove('one key sent many times at once is one message', async (fleet) => {
    const { a, b } = await fleet.channel()
    const sends = Array.from({ length: 20 }, () => a.store.send(a.session, 'burst', { text: 'same' }))
    const ids = new Set(idsOf(await Promise.all(sends)))
    assert.equal(ids.size, 1)
    assert.deepEqual(await texts(b), ['same'])
  })

  prove('many sends at once all arrive, each with an id of its own', async (fleet) => {
    const { a, b } = await fleet.channel()
    const sends = Array.from({ length: 100 }, (_, n) => a.store.send(a.session, `k${n}`, { text: `n${n}` }))
    const ids = idsOf(await Promise.all(sends))
    assert.equal(new Set(ids).size, 100)
    const arrived = await unread(b)
    assert.ok(isRising(idsOf(arrived)))
    assert.deepEqual(new Set(arrived.map(({ text }) => text)).size, 100)
  })

  prove('limits are named, and what fits them is kept whole', async (fleet) => {
    const { a, b } = await fleet.channel()
    const send = (key: string, text: string, files: string[] = [], action: string | null = null): Promise<Message> =>
      a.store.send(a.session, key, { text, files, action })
    await refused('invalid', send('k', ''))
    await refused('too_large', send('k', 'x'.repeat(TEXT_MAX + 1)))
    await refused('too_large', send('k', 'x', ['f'.repeat(NAME_MAX + 1)]))
    await refused('too_large', send('k', 'x', Array(FILES_MAX + 1).fill('f')))
    await refused('too_large', send('k', 'x', [], 'a'.repeat(NAME_MAX + 1)))
    await refused('invalid', send('', 'x'))
    await refused('invalid', send('k'.repeat(KEY_MAX + 1), 'x'))
    assert.deepEqual(await unread(b), [])
    const text = 'ü'.repeat(TEXT_MAX)
    await send('k'.repeat(KEY_MAX), text, Array(FILES_MAX).fill('f'.repeat(NAME_MAX)), 'a'.repeat(NAME_MAX))
    assert.equal((await unread(b))[0]?.text, text)
  })

  prove('nobody sends in a conversation that is not there', async (fleet) => {
    await refused('not_found', fleet.store.send('conv_0000000000000000/a', 'k', { text: 'x' }))
    await refused('invalid', fleet.store.send('conv_1/c' as SessionId, 'k', { text: 'x' }))
  })

  prove('unread messages come oldest first, after an id, and no more than asked for', async (fleet) => {
    const { a, b } = await fleet.channel()
    const other = await fleet.channel('w-2')
    const sent: Message[] = []
    for (let n = 0; n < 5; n += 1) {
      sent.push(await a.store.send(a.session, `k${n}`, { text: `n${n}` }))
      await other.a.store.send(other.a.session, `k${n}`, { text: 'not yours' })
    }
    assert.deepEqual(idsOf(await unread(b)), idsOf(sent))
    assert.deepEqual(idsOf(await b.store.unacked(b.session, 0, 2)), idsOf(sent.slice(0, 2)))
    assert.deepEqual(idsOf(await b.store.unacked(b.session, sent[2]?.id ?? 0, 10)), idsOf(sent.slice(3)))
    await b.store.mark(b.session, [sent[1]?.id ?? 0], 'acked')
    assert.deepEqual(await texts(b), ['n0', 'n2', 'n3', 'n4'])
  })

  prove(
    'what waits is told without its text, however long, in the order and to the end that was asked for',
    async (fleet) => {
      const { a, b } = await fleet.channel()
      const sent: Message[] = []
      for (let n = 0; n < 120; n += 1) {
        sent.push(await a.store.send(a.session, `k${n}`, { text: `${n} `.padEnd(TEXT_MAX, 'x') }))
      }
      await b.store.mark(b.session, [sent[1]?.id ?? 0], 'acked')
      await b.store.mark(b.session, [sent[2]?.id ?? 0], 'leased')
      const waiting = await b.store.waiting(b.session, 0, 1_000)
      assert.deepEqual(idsOf(waiting), idsOf(sent.toSpliced(1, 1)), 'more than one read of messages may hold')
      const [first, second] = waiting
      const { id, sentAt } = sent[0] ?? { id: 0, sentAt: 0 }
      assert.deepEqual(first, { id, from: a.session, sentAt, delivery: 'queued' })
      assert.equal(second?.delivery, 'leased')
      assert.deepEqual(idsOf(await b.store.waiting(b.session, id, 3)), idsOf(sent.slice(2, 5)))
      assert.deepEqual(await b.store.waiting(b.session, sent.at(-1)?.id ?? 0, 10), [])
    },
  )

  prove(
    'the newest message is known by its id',
    async (fleet) => {
      assert.equal(await fleet.store.newest(), 0)
      const { a, b } = await fleet.channel()
      await a.store.send(a.session, 'k', { text: 'x' })
      const { id } = await b.store.send(b.session, 'k', { text: 'y' })
      await a.store.mark(a.session, [id], 'acked')
      assert.equal(await fleet.store.newest(), id)
    },
    'newest',
  )

  prove('marks go forward only, and only the reader’s own count', async (fleet) => {
    const { a, b } = await fleet.channel()
    const other = await fleet.channel('w-2')
    const { id } = await a.store.send(a.session, 'k', { text: 'x' })
    const delivery = async (): Promise<string | undefined> => (await unread(b))[0]?.delivery
    await a.store.mark(a.session, [id], 'acked')
    await other.b.store.mark(other.b.session, [id], 'acked')
    assert.equal(await delivery(), 'queued', 'it is nobody else’s to mark')
    await b.store.mark(b.session, [id, id + 1, 987_654], 'delivered')
    assert.equal(await delivery(), 'delivered')
    await b.store.mark(b.session, [id], 'leased')
    await b.store.mark(b.session, [id], 'delivered')
    assert.equal(await delivery(), 'leased')
    await b.store.mark(b.session, [], 'acked')
    await b.store.mark(b.session, [id], 'acked')
    assert.equal(await delivery(), undefined)
    await b.store.mark(b.session, [id], 'leased')
    assert.equal(await delivery(), undefined)
  })

  prove('a message may be acked at once', async (fleet) => {
    const { a, b } = await fleet.channel()
    const ids = idsOf([
      await a.store.send(a.session, 'k', { text: 'x' }),
      await a.store.send(a.session, 'l', { text: 'y' }),
    ])
    await b.store.mark(b.session, ids, 'acked')
    assert.deepEqual(await unread(b), [])
  })

  prove('secrets are taken out before anything is kept', async (fleet) => {
    const { opened, a, b } = await fleet.channel()
    const text = `use ${opened.tokens.b} and password=correcthorse`
    const sent = await a.store.send(a.session, 'k', { text, files: [`/tmp/${opened.tokens.a}`] })
    const kept = JSON.stringify([sent, await unread(b)])
    for (const secret of [opened.tokens.a, opened.tokens.b, 'correcthorse']) assert.equal(kept.includes(secret), false)
    assert.deepEqual(await a.store.send(a.session, 'k', { text, files: [`/tmp/${opened.tokens.a}`] }), sent)
  })

  prove('what was answered cannot be reached into', async (fleet) => {
    const { a, b } = await fleet.channel()
    const files = ['one']
    const sent = await a.store.send(a.session, 'k', { text: 'x', files })
    files.push('two')
    for (const answer of [sent, (await unread(b))[0]]) {
      assert.ok(answer !== undefined)
      vandalise(answer.files)
      vandalise(answer)
    }
    assert.deepEqual((await unread(b))[0]?.files, ['one'])
    assert.equal((await unread(b))[0]?.text, 'x')
  })
}

/** Tries to change an answer; where it lets itself be changed it must be a copy. */
function vandalise(answer: object): void {
  const target = answer as Record<string, unknown>
  for (const field of Object.keys(target)) {
    try {
      target[field] = 'vandalised'
    } catch {
      // frozen
    }
  }
}

function proveMail(prove: Prove): void {
  prove('a late reader gets all that waits, then what comes, in order', async (fleet) => {
    const { a, b } = await fleet.channel()
    for (let n = 0; n < 3; n += 1) await a.store.send(a.session, `k${n}`, { text: `n${n}` })
    const mail = singly(b.store.mail(b.session, 0, fleet.signal))[Symbol.asyncIterator]()
    const waiting = await take(mail, 3)
    const coming = take(mail, 3)
    for (let n = 3; n < 6; n += 1) await a.store.send(a.session, `k${n}`, { text: `n${n}` })
    const all = [...waiting, ...(await coming)]
    assert.deepEqual(
      all.map(({ text }) => text),
      ['n0', 'n1', 'n2', 'n3', 'n4', 'n5'],
    )
    assert.ok(isRising(idsOf(all)))
  })

  prove('a reader resumes after what it has, and is spared what it acked', async (fleet) => {
    const { a, b } = await fleet.channel()
    const sent: Message[] = []
    for (let n = 0; n < 4; n += 1) sent.push(await a.store.send(a.session, `k${n}`, { text: `n${n}` }))
    const first = new AbortController()
    const begun = await take(singly(b.store.mail(b.session, 0, first.signal))[Symbol.asyncIterator](), 2)
    first.abort()
    const resumed = await take(
      singly(b.store.mail(b.session, begun[1]?.id ?? 0, fleet.signal))[Symbol.asyncIterator](),
      2,
    )
    assert.deepEqual(idsOf(resumed), idsOf(sent.slice(2)))
    await b.store.mark(b.session, idsOf(sent.slice(0, 3)), 'acked')
    const late = await take(singly(b.store.mail(b.session, 0, fleet.signal))[Symbol.asyncIterator](), 1)
    assert.deepEqual(idsOf(late), idsOf(sent.slice(3)))
  })

  prove('nothing is lost that comes while the reader looks away', async (fleet) => {
    const { a, b } = await fleet.channel()
    const mail = singly(b.store.mail(b.session, 0, fleet.signal))[Symbol.asyncIterator]()
    const got: StoredMessage[] = []
    const writing = (async () => {
      for (let n = 0; n < 60; n += 1) {
        await a.store.send(a.session, `k${n}`, { text: `n${n}` })
        if (n % 7 === 0) await sleep(1)
      }
    })()
    while (got.length < 60) {
      got.push(...(await take(mail, 1)))
      if (got.length % 5 === 0) await sleep(1) // between a read and the next wait
    }
    await writing
    assert.ok(isRising(idsOf(got)))
    assert.equal(new Set(idsOf(got)).size, 60)
  })

  prove('readers that come while many are written to get all of theirs, whenever they come', async (fleet) => {
    const [CHANNELS, BEFORE, EACH] = [12, 5, 40]
    const channels = await Promise.all(Array.from({ length: CHANNELS }, (_, n) => fleet.channel(`w-${n}`)))
    const send = ({ a }: Channel, n: number) => a.store.send(a.session, `k${n}`, { text: `n${n}` })
    for (let n = 0; n < BEFORE; n += 1) await Promise.all(channels.map((channel) => send(channel, n)))
    const writing = channels.map(async (channel, at) => {
      for (let n = BEFORE; n < EACH; n += 1) {
        await send(channel, n)
        if ((n + at) % 9 === 0) await sleep(1)
      }
    })
    const read = async ({ b }: Channel): Promise<StoredMessage[]> => {
      const mail = singly(b.store.mail(b.session, 0, fleet.signal))[Symbol.asyncIterator]()
      const got: StoredMessage[] = []
      while (got.length < EACH) {
        got.push(...(await take(mail, 1)))
        if (got.length % 3 === 0) await nextTurn() // others are served meanwhile, and more is committed
      }
      return got
    }
    // Nobody listens yet: the first to come meets commits on their way, and every other one another instant.
    const reading = channels.map(async (channel, at) => {
      for (let turn = 0; turn < at; turn += 1) await nextTurn()
      return await read(channel)
    })
    const late = Promise.race(writing).then(() => read(channels[0] as Channel))
    for (const got of await Promise.all([...reading, late])) {
      assert.deepEqual(
        got.map(({ text }) => text),
        Array.from({ length: EACH }, (_, n) => `n${n}`),
      )
    }
    await Promise.all(writing)
  })

  prove('every reader gets its own mail, and two of one session get all of it each', async (fleet) => {
    const one = await fleet.channel('w-1')
    const other = await fleet.channel('w-2')
    const readers = [one.b, one.b, other.b].map(({ session, store }) => {
      return take(singly(store.mail(session, 0, fleet.signal))[Symbol.asyncIterator](), 2)
    })
    for (let n = 0; n < 2; n += 1) {
      await one.a.store.send(one.a.session, `k${n}`, { text: `one ${n}` })
      await other.a.store.send(other.a.session, `k${n}`, { text: `other ${n}` })
    }
    const got = (await Promise.all(readers)).map((mail) => mail.map(({ text }) => text))
    assert.deepEqual(got, [
      ['one 0', 'one 1'],
      ['one 0', 'one 1'],
      ['other 0', 'other 1'],
    ])
  })

  prove('it ends when it is told to, also while it waits', async (fleet) => {
    const { a, b } = await fleet.channel()
    await a.store.send(a.session, 'k', { text: 'x' })
    const aborted = singly(b.store.mail(b.session, 0, AbortSignal.abort()))[Symbol.asyncIterator]()
    assert.equal((await aborted.next()).done, true)
    const stop = new AbortController()
    const mail = singly(b.store.mail(b.session, 0, stop.signal))[Symbol.asyncIterator]()
    assert.equal((await mail.next()).done, false)
    const waiting = mail.next()
    await sleep(5)
    stop.abort()
    assert.equal((await waiting).done, true)
  })

  prove('letting go of it in the middle is allowed', async (fleet) => {
    const { a, b } = await fleet.channel()
    await a.store.send(a.session, 'k', { text: 'x' })
    await a.store.send(a.session, 'l', { text: 'y' })
    for await (const { text } of singly(b.store.mail(b.session, 0, fleet.signal))) {
      assert.equal(text, 'x')
      break
    }
    assert.deepEqual(await texts(b), ['x', 'y'], 'reading consumes nothing')
  })
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function proveTraffic(prove: Prove): void {
  prove(
    'it is everybody’s messages, acked ones too, in order',
    async (fleet) => {
      const one = await fleet.channel('w-1')
      const other = await fleet.channel('w-2')
      const sent: Message[] = []
      for (const end of [one.a, other.a, one.b])
        sent.push(await end.store.send(end.session, 'k', { text: end.session }))
      await one.b.store.mark(one.b.session, [sent[0]?.id ?? 0], 'acked')
      const got = await gather(fleet, 0, 3)
      assert.deepEqual(idsOf(got), idsOf(sent))
      assert.deepEqual(
        got.map(({ delivery }) => delivery),
        ['acked', 'queued', 'queued'],
      )
      assert.deepEqual(idsOf(await gather(fleet, sent[1]?.id ?? 0, 1)), idsOf(sent.slice(2)))
    },
    'traffic',
  )

  prove(
    'it goes on with what comes, and leaves nothing out',
    async (fleet) => {
      const { a } = await fleet.channel()
      const gathering = gather(fleet, 0, 80)
      const sends = Array.from({ length: 80 }, (_, n) => a.store.send(a.session, `k${n}`, { text: `n${n}` }))
      const sent = idsOf(await Promise.all(sends)).sort((x, y) => x - y)
      assert.deepEqual(idsOf(await gathering), sent)
    },
    'traffic',
  )

  prove(
    'it ends when it is told to',
    async (fleet) => {
      const stop = new AbortController()
      const traffic = fleet.store.traffic(0, stop.signal)[Symbol.asyncIterator]()
      const waiting = traffic.next()
      await sleep(5)
      stop.abort()
      assert.equal((await waiting).done, true)
    },
    'traffic',
  )
}

/** Reads traffic until so many messages have come. */
async function gather(fleet: Fleet, after: number, count: number): Promise<StoredMessage[]> {
  const got: StoredMessage[] = []
  for await (const batch of fleet.store.traffic(after, fleet.signal)) {
    assert.ok(batch.length > 0, 'an empty batch')
    got.push(...batch)
    if (got.length >= count) break
  }
  return got
}

function proveLiveness(prove: Prove): void {
  const beatOf = (session: SessionId, fields: Partial<Beat> = {}): Beat => {
    return { session, host: 'h1', incarnation: 'life-1', seq: 1, work: 0, ...fields }
  }

  prove(
    'what a beat said can be read back, after a cursor',
    async (fleet) => {
      const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
      const before = await fleet.store.pulses(0)
      await one.b.store.beat([beatOf(one.b.session, { work: 3 })])
      const first = await fleet.store.pulses(before.cursor)
      assert.deepEqual(
        first.pulses.map(({ version: _, ...beat }) => beat),
        [beatOf(one.b.session, { work: 3 })],
      )
      assert.ok(first.cursor > before.cursor)
      await other.b.store.beat([beatOf(other.b.session, { host: 'h2' })])
      const second = await fleet.store.pulses(first.cursor)
      assert.deepEqual(
        second.pulses.map(({ session }) => session),
        [other.b.session],
      )
      assert.deepEqual((await fleet.store.pulses(second.cursor)).pulses, [])
      assert.equal((await fleet.store.pulses(second.cursor)).cursor, second.cursor)
      assert.equal((await fleet.store.pulses(0)).pulses.length, 2)
    },
    'pulses',
  )

  prove(
    'a beat says what a client does, in one line without secrets, until one says nothing of it',
    async (fleet) => {
      const { b } = await fleet.channel()
      let seq = 0
      const read = async (activity?: Beat['activity']): Promise<Beat['activity']> => {
        seq += 1
        await b.store.beat([beatOf(b.session, { seq, ...(activity === undefined ? {} : { activity }) })])
        return (await fleet.store.pulses(0)).pulses[0]?.activity
      }
      const asks = { state: 'waiting', what: 'permission prompt: Bash npm test', until: null } as const
      assert.deepEqual(await read(asks), asks)
      const secret = `limit\n\u001b[31mAuthorization: Bearer ${'Zq7Rm2Kx9T'.repeat(4)}`
      const limit = await read({ state: 'parked', what: secret, until: 60_000.4 })
      assert.equal(limit?.until, 60_000)
      assert.doesNotMatch(limit?.what ?? '', /Zq7R|\p{C}/u)
      assert.equal(
        await read({ ...asks, state: 'dreaming' as 'idle' }),
        undefined,
        'a state that only newer versions know',
      )
      assert.deepEqual(await read({ state: 'idle', what: null, until: null }), {
        state: 'idle',
        what: null,
        until: null,
      })
      assert.equal(await read(), undefined)
    },
    'pulses',
  )

  prove(
    'a cursor beyond all that there is starts over',
    async (fleet) => {
      const { b } = await fleet.channel()
      await b.store.beat([beatOf(b.session)])
      const { cursor } = await fleet.store.pulses(0)
      const beyond = await fleet.store.pulses(cursor + 3_600_000_000)
      assert.deepEqual(
        beyond.pulses.map(({ session }) => session),
        [b.session],
      )
      assert.equal(beyond.cursor, cursor, 'so that the observer goes on from here')
    },
    'pulses',
  )

  prove(
    'a worker that begins to ask and has nothing to take shows work, once a life',
    async (fleet) => {
      const { b } = await fleet.channel()
      let seq = 0
      const work = async (): Promise<number | undefined> => {
        seq += 1
        await b.store.beat([beatOf(b.session, { seq, work: 5 })])
        return (await fleet.store.pulses(0)).pulses[0]?.work
      }
      assert.equal(await work(), 5)
      await b.store.leaseTask(b.session, 'run-1')
      assert.equal(await work(), 6)
      await b.store.leaseTask(b.session, 'run-1')
      assert.equal(await work(), 6)
      await b.store.leaseTask(b.session, 'run-2', ['set-aside'])
      assert.equal(await work(), 6, 'it may let that one lie')
      await b.store.leaseTask(b.session, 'run-2')
      assert.equal(await work(), 7)
      await fleet.store.addTask({ ...TASK, id: 't', holder: b.session })
      await b.store.leaseTask(b.session, 'run-3')
      assert.equal(await work(), 7)
    },
    'pulses',
  )

  prove(
    'only a later beat of a life, or another life, changes anything',
    async (fleet) => {
      const { b } = await fleet.channel()
      const heard = async (beat: Partial<Beat>): Promise<boolean> => {
        const { cursor } = await fleet.store.pulses(0)
        await b.store.beat([beatOf(b.session, beat)])
        return (await fleet.store.pulses(cursor)).pulses.length > 0
      }
      assert.equal(await heard({ seq: 5 }), true)
      assert.equal(await heard({ seq: 5 }), false)
      assert.equal(await heard({ seq: 4, work: 9 }), false)
      assert.equal(await heard({ seq: 6 }), true)
      assert.equal(await heard({ incarnation: 'life-2', seq: 1 }), true)
      const [pulse] = (await fleet.store.pulses(0)).pulses
      assert.deepEqual([pulse?.incarnation, pulse?.seq, pulse?.work], ['life-2', 1, 0])
    },
    'pulses',
  )

  prove(
    'beats of sessions that nobody knows are passed over',
    async (fleet) => {
      const { b } = await fleet.channel()
      await fleet.store.beat([beatOf('conv_0000000000000000/b'), beatOf(b.session)])
      const { pulses } = await fleet.store.pulses(0)
      assert.deepEqual(
        pulses.map(({ session }) => session),
        [b.session],
      )
    },
    'pulses',
  )

  prove(
    'an observer sees whether anybody collects beats',
    async (fleet) => {
      const { tick } = await fleet.store.pulses(0)
      await sleep(5)
      assert.equal((await fleet.store.pulses(0)).tick, tick, 'it stands still while nobody tends the store')
      assert.ok((await fleet.store.tend()) > 0)
      const tended = (await fleet.store.pulses(0)).tick
      assert.notEqual(tended, tick)
      await fleet.store.tend()
      assert.notEqual((await fleet.store.pulses(0)).tick, tended)
    },
    'pulses',
    'tend',
  )

  prove(
    'what was judged last can be read; who is not named is forgotten',
    async (fleet) => {
      const { store, clock } = fleet
      assert.deepEqual(await store.verdicts(), { at: null, verdicts: [] })
      const since = Math.round(clock.wall())
      const unexplained = { why: null, until: null, activity: null }
      const one = { agent: 'w-1', verdict: 'alive', since, host: 'h1', ...unexplained } as const
      const two = { agent: 'w-2', verdict: 'silent', since, host: null, ...unexplained } as const
      await store.judge([one, two])
      const first = await store.verdicts()
      assert.deepEqual(
        [...first.verdicts].sort((x, y) => (x.agent < y.agent ? -1 : 1)),
        [one, two],
      )
      assert.ok(Math.abs((first.at ?? 0) - clock.wall()) < 10_000)
      await store.judge([{ ...two, verdict: 'alive' }])
      assert.deepEqual((await store.verdicts()).verdicts, [{ ...two, verdict: 'alive' }])
      await store.judge([])
      assert.deepEqual((await store.verdicts()).verdicts, [])
    },
    'judge',
  )

  prove(
    'what explains a verdict is kept, and until when it holds; both may be left out, and may change alone',
    async ({ store, clock }) => {
      const since = Math.round(clock.wall())
      const parked = {
        agent: 'w-1',
        verdict: 'parked',
        since,
        host: 'h1',
        why: 'usage limit',
        until: since + 60_000,
        activity: { state: 'parked', what: 'usage limit', until: since + 60_000, since },
      } as const
      const {
        why: _why,
        until: _until,
        activity: _activity,
        ...bare
      } = { ...parked, agent: 'w-2', verdict: 'stalled' } as const
      await store.judge([parked, bare])
      const kept = async () => [...(await store.verdicts()).verdicts].sort((x, y) => (x.agent < y.agent ? -1 : 1))
      assert.deepEqual(await kept(), [parked, { ...bare, why: null, until: null, activity: null }])
      const later = { ...parked, until: since + 120_000 }
      const sick = {
        ...bare,
        verdict: 'sick',
        why: 'folder /srv/x does not exist',
        until: null,
        activity: null,
      } as const
      await store.judge([later, sick])
      assert.deepEqual(await kept(), [later, sick])
      await store.judge([{ ...later, why: null }, sick])
      assert.deepEqual(await kept(), [{ ...later, why: null }, sick])
      const idle = {
        ...later,
        why: null,
        activity: { state: 'idle', what: null, until: null, since: since + 5 },
      } as const
      await store.judge([idle, sick])
      assert.deepEqual(await kept(), [idle, sick])
    },
    'judge',
  )
}

function proveTasks(prove: Prove): void {
  prove('a task that nobody holds is pending, and nobody is told', async (fleet) => {
    const { a, b } = await fleet.channel()
    const wanted: NewTask = { ...TASK, id: 't.1', deadline: 5_000_000, createdBy: a.session }
    const task = await fleet.store.addTask(wanted)
    assert.deepEqual(
      { ...task, epoch: 0, createdAt: 0, updatedAt: 0 },
      {
        ...wanted,
        state: 'pending',
        epoch: 0,
        originalAssignee: null,
        incarnation: null,
        otherRoles: [],
        leaseSeq: 0,
        work: 0,
        moves: 0,
        attempts: [],
        pause: null,
        reminded: 0,
        progress: null,
        result: null,
        onDeadline: 'fail',
        onStall: null,
        createdAt: 0,
        updatedAt: 0,
      },
    )
    assert.deepEqual(await fleet.store.task('t.1'), task)
    assert.deepEqual([await unread(a), await unread(b)], [[], []])
  })

  prove('a task with a holder is assigned to it by a letter', async (fleet) => {
    const { a, b } = await fleet.channel()
    const task = await fleet.store.addTask({ ...TASK, id: 't1', holder: b.session, createdBy: a.session })
    assert.equal(task.state, 'assigned')
    const { id, epoch, description, priority, role } = task
    const letter = {
      type: 'task_assignment',
      task: id,
      epoch,
      description,
      priority,
      role,
      originalAssignee: null,
      timeoutMs: null,
    }
    assert.deepEqual(await letters(b), [letter])
    assert.equal((await unread(b))[0]?.from, a.session)
    assert.deepEqual(JSON.parse((await texts(b))[0] ?? ''), {
      type: 'task_assignment',
      task_id: 't1',
      epoch,
      description,
      priority,
      role,
    })
  })

  prove('the same id twice answers the first', async (fleet) => {
    const { b } = await fleet.channel()
    const wanted = { ...TASK, id: 't1', holder: b.session }
    const adds = Array.from({ length: 5 }, () => fleet.store.addTask(wanted))
    const [first] = await Promise.all(adds)
    for (const again of await Promise.all(adds)) assert.deepEqual(again, first)
    await b.store.leaseTask(b.session, 'life-1')
    assert.equal((await fleet.store.addTask({ ...wanted, holder: null })).state, 'accepted')
    await refused('conflict', fleet.store.addTask({ ...wanted, description: 'something else' }))
    await refused('conflict', fleet.store.addTask({ ...wanted, role: 'another' }))
    assert.equal((await fleet.store.task('t1')).description, wanted.description)
    assert.equal((await letters(b)).length, 1)
  })

  prove('what is no task is refused', async (fleet) => {
    const { id, a } = await fleet.channel()
    await refused('invalid', fleet.task({ id: '' }))
    await refused('invalid', fleet.task({ id: '../x' }))
    await refused('invalid', fleet.task({ id: 'x'.repeat(65) }))
    await refused('invalid', fleet.task({ description: '' }))
    await refused('too_large', fleet.task({ description: 'x'.repeat(DESCRIPTION_MAX + 1) }))
    await refused('invalid', fleet.task({ holder: a.session }))
    await refused('not_found', fleet.task({ holder: 'conv_0000000000000000/b' }))
    await fleet.store.endConversation(id)
    await refused('expired', fleet.task({ holder: sessionId(id, 'b') }))
    assert.deepEqual(await fleet.store.tasks({}), [])
  })

  prove('a description of full length is kept whole, and its letter fits a message', async (fleet) => {
    const { b } = await fleet.channel()
    const description = '"\n'.repeat(DESCRIPTION_MAX / 2)
    const task = await fleet.task({ description, holder: b.session })
    assert.equal((await fleet.store.task(task.id)).description, description)
    const [message] = await unread(b)
    assert.ok((message?.text.length ?? 0) <= TEXT_MAX)
    assert.equal(readTaskMessage(message?.text ?? '')?.task, task.id)
  })

  prove('tasks can be sifted', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await fleet.task({ id: 'pending' })
    await fleet.task({ id: 'mine', holder: one.b.session })
    await fleet.task({ id: 'theirs', holder: other.b.session })
    await fleet.task({ id: 'gone', holder: one.b.session })
    await fleet.store.cancelTask('gone')
    const names = async (filter: Parameters<Store['tasks']>[0]): Promise<string[]> => {
      return (await fleet.store.tasks(filter)).map(({ id }) => id).sort()
    }
    assert.deepEqual(await names({}), ['gone', 'mine', 'pending', 'theirs'])
    assert.deepEqual(await names({ open: true }), ['mine', 'pending', 'theirs'])
    assert.deepEqual(await names({ open: false }), ['gone'])
    assert.deepEqual(await names({ holder: one.b.session }), ['gone', 'mine'])
    assert.deepEqual(await names({ holder: one.b.session, open: true }), ['mine'])
    assert.deepEqual(await names({ state: 'pending' }), ['pending'])
    const inOrder = async (filter: Parameters<Store['tasks']>[0]): Promise<string[]> =>
      (await fleet.store.tasks(filter)).map(({ id }) => id)
    assert.deepEqual(await inOrder({ limit: 2 }), ['pending', 'mine'])
    assert.deepEqual(
      await inOrder({ limit: 2, newest: true }),
      ['theirs', 'gone'],
      'the newest, and still oldest first',
    )
    assert.deepEqual(await inOrder({ open: true, limit: 2, newest: true }), ['mine', 'theirs'])
    assert.deepEqual(await inOrder({ limit: 9, newest: true }), ['pending', 'mine', 'theirs', 'gone'])
    await refused('not_found', fleet.store.task('nobody-added-this'))
  })

  prove('withdrawing tells the holder; twice is once', async (fleet) => {
    const { a, b } = await fleet.channel()
    const task = await fleet.task({ holder: b.session, createdBy: a.session })
    const cancelled = await fleet.store.cancelTask(task.id)
    assert.equal(cancelled.state, 'cancelled')
    assert.deepEqual(await fleet.store.cancelTask(task.id), cancelled)
    const [, revoked] = await letters(b)
    assert.deepEqual([revoked?.type, revoked?.task], ['task_revoked', task.id])
    assert.equal((await letters(b)).length, 2)
    assert.equal(await b.store.leaseTask(b.session, 'life-1'), null)
    await refused('conflict', b.store.report(b.session, done(task)))
    await refused('not_found', fleet.store.cancelTask('nobody-added-this'))
  })

  prove('what has ended otherwise cannot be withdrawn', async (fleet) => {
    const { b } = await fleet.channel()
    const task = await fleet.task({ holder: b.session })
    await b.store.report(b.session, done(task))
    await refused('conflict', fleet.store.cancelTask(task.id))
    assert.equal((await fleet.store.task(task.id)).state, 'completed')
  })

  prove('secrets are taken out of tasks', async (fleet) => {
    const { a, b } = await fleet.channel()
    const secret = 'f'.repeat(32) + '0'.repeat(32)
    const task = await fleet.task({ description: `log in with ${secret}`, holder: b.session, createdBy: a.session })
    await b.store.report(b.session, report(task, { progress: `using ${secret}` }))
    await b.store.report(b.session, report(task, { state: 'failed', result: { ...RESULT, tail: `no: ${secret}` } }))
    const kept = JSON.stringify([await fleet.store.task(task.id), await unread(a), await unread(b)])
    assert.equal(kept.includes(secret), false)
    assert.ok(kept.includes('no: '))
  })
}

function proveReports(prove: Prove): void {
  prove('a holder leases its most urgent task, each once', async (fleet) => {
    const [{ b }, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await fleet.task({ id: 'low', priority: 'P3', holder: b.session })
    fleet.clock.pass(5)
    await fleet.task({ id: 'first', priority: 'P1', holder: b.session })
    fleet.clock.pass(5)
    await fleet.task({ id: 'second', priority: 'P1', holder: b.session })
    await fleet.task({ id: 'theirs', priority: 'P0', holder: other.b.session })
    await fleet.task({ id: 'nobodys', priority: 'P0' })
    const leased: Task[] = []
    const next = (): Promise<Task | null> => {
      const passing = leased.map(({ id }) => id)
      return b.store.leaseTask(b.session, 'life-1', passing)
    }
    for (let task = await next(); task; task = await next()) leased.push(task)
    assert.deepEqual(
      leased.map(({ id }) => id),
      ['first', 'second', 'low'],
    )
    for (const { id, state, incarnation, leaseSeq, epoch } of leased) {
      assert.deepEqual([state, incarnation, leaseSeq > 0], ['accepted', 'life-1', true])
      assert.equal((await fleet.store.task(id)).epoch, epoch)
    }
  })

  prove('a lease whose answer was lost is answered again, and counts once', async (fleet) => {
    const { b } = await fleet.channel()
    for (let n = 0; n < 3; n += 1) await fleet.task({ id: `t${n}`, holder: b.session })
    const leases = await Promise.all(Array.from({ length: 8 }, () => b.store.leaseTask(b.session, 'life-1')))
    for (const task of leases) assert.deepEqual([task?.id, task?.epoch], ['t0', 1])
    assert.equal((await fleet.store.task('t0')).attempts.length, 1)
    assert.deepEqual(
      (await fleet.store.tasks({ state: 'assigned' })).map(({ id }) => id),
      ['t1', 't2'],
    )
  })

  prove('a new life takes over what the last one had leased, and fences it off', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', holder: b.session })
    const before = (await b.store.leaseTask(b.session, 'life-1')) as Task
    assert.equal(await b.store.leaseTask(b.session, 'life-1', ['t1']), null)
    const after = (await b.store.leaseTask(b.session, 'life-2')) as Task
    assert.deepEqual([after.id, after.epoch, after.incarnation], ['t1', before.epoch + 1, 'life-2'])
    assert.equal(after.moves, 0)
    await refused('stale_epoch', b.store.report(b.session, report(before)))
    await refused('stale_epoch', b.store.report(b.session, done(before)))
    assert.equal((await b.store.report(b.session, done(after))).state, 'completed')
  })

  prove('each start counts, pauses between them double, and a clock that is put back ends them', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', holder: b.session })
    const lease = (life: number): Promise<Task | null> => b.store.leaseTask(b.session, `life-${life}`)
    assert.equal((await lease(1))?.attempts.length, 1)
    assert.equal((await lease(2))?.attempts.length, 2, 'the first interruption is mostly a restart')
    assert.equal(await lease(3), null, 'it waits now')
    fleet.clock.pass(3_000)
    assert.equal(await lease(3), null)
    fleet.clock.pass(2_000)
    assert.equal((await lease(3))?.attempts.length, 3)
    await lease(4)
    fleet.clock.pass(8_000)
    assert.equal(await lease(4), null)
    fleet.clock.pass(-3_600_000)
    const { attempts, epoch } = (await lease(4)) as Task
    assert.deepEqual(
      attempts.map(({ end }) => end),
      ['interrupted', 'interrupted', 'interrupted', null],
    )
    assert.equal(epoch, 4)
  })

  prove('what a place could not do goes back unharmed, once', async (fleet) => {
    const { a, b } = await fleet.channel()
    await fleet.task({ id: 't1', priority: 'P2', holder: b.session, createdBy: a.session })
    const leased = (await b.store.leaseTask(b.session, 'life-1')) as Task
    const result = { exitCode: 75, signal: null, tail: 'one\nno folder\n' }
    const back = report(leased, { state: 'returned', cause: 'sick', result })
    const returned = await b.store.report(b.session, back)
    const { state, holder, priority, epoch, moves, attempts, pause, originalAssignee } = returned
    assert.deepEqual(
      { state, holder, priority, epoch, moves, pause, originalAssignee },
      {
        state: 'pending',
        holder: null,
        priority: 'P2',
        epoch: leased.epoch + 1,
        moves: 0,
        pause: null,
        originalAssignee: b.session,
      },
    )
    assert.deepEqual([attempts[0]?.end, attempts[0]?.note, countedAttempts(returned)], ['sick', 'no folder', 0])
    assert.deepEqual(await b.store.report(b.session, back), returned)
    assert.deepEqual(await letters(a), [], 'nothing became of it')
    await refused('stale_epoch', b.store.report(b.session, done(leased)))
  })

  prove('a checkpoint stays with its task, and the next holder is handed it', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', priority: 'P2', holder: b.session })
    const first = (await b.store.leaseTask(b.session, 'life-1')) as Task
    assert.equal(first.checkpoint, undefined)
    const at = { ...report(first, { state: 'in_progress' }), checkpoint: 'the tests of a are green' }
    assert.equal((await b.store.report(b.session, at)).checkpoint, at.checkpoint)
    const on = await b.store.report(b.session, report(first, { state: 'in_progress', progress: 'on' }))
    assert.equal(on.checkpoint, at.checkpoint, 'a report that names none changes none')
    await fleet.store.move({ task: 't1', epoch: first.epoch, to: b.session, reason: 'stalled' })
    const mail = await b.store.unacked(b.session, 0, 50)
    assert.equal(JSON.parse(mail.at(-1)?.text ?? '').checkpoint, at.checkpoint)
    assert.equal((await b.store.leaseTask(b.session, 'life-2'))?.checkpoint, at.checkpoint)
  })

  prove('what clients used is kept of each start and of all together, and nothing takes it back', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', priority: 'P2', holder: b.session })
    const first = (await b.store.leaseTask(b.session, 'life-1')) as Task
    assert.equal(first.usage, undefined, 'nobody said anything')
    const some = { inputTokens: 100, outputTokens: 10, cachedTokens: 40, costUsd: 0.1, turns: 0 }
    const more = { inputTokens: 300, outputTokens: 20, cachedTokens: 40, costUsd: 0.25, turns: 1 }
    const say = (usage: Usage, parts: Partial<Report> = {}) =>
      b.store.report(b.session, { ...report(first, { state: 'in_progress' }), ...parts, usage })
    assert.deepEqual((await say(some)).usage, some)
    assert.deepEqual((await say(more)).usage, more, 'a start says what it used so far')
    assert.deepEqual((await say(some)).usage, more)
    const back = await say(more, { state: 'returned', cause: 'parked' })
    assert.deepEqual([back.usage, back.attempts[0]?.usage], [more, more])
    const taken = await fleet.store.move({ task: 't1', epoch: back.epoch, to: b.session, reason: 'unassigned' })
    assert.equal(taken, true)
    const second = (await b.store.leaseTask(b.session, 'life-2')) as Task
    assert.deepEqual(second.usage, more)
    const codex = { ...some, costUsd: null, turns: 1 }
    const end = await b.store.report(b.session, { ...done(second), usage: codex })
    assert.deepEqual(end.usage, { inputTokens: 400, outputTokens: 30, cachedTokens: 80, costUsd: 0.25, turns: 2 })
    assert.deepEqual(
      (await fleet.store.task('t1')).attempts.map(({ usage }) => usage),
      [more, codex],
    )
  })

  prove('absurd counts of several starts make up a task that everybody can still read', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', priority: 'P2', holder: b.session })
    const count = Number.MAX_SAFE_INTEGER
    const most = { inputTokens: count, outputTokens: count, cachedTokens: count, costUsd: 1_000_000, turns: count }
    for (const life of ['life-1', 'life-2']) {
      const leased = (await b.store.leaseTask(b.session, life)) as Task
      const returned = { ...report(leased, { state: 'returned' }), cause: 'parked' as const, usage: most }
      const { epoch } = await b.store.report(b.session, returned)
      await fleet.store.move({ task: 't1', epoch, to: b.session, reason: 'unassigned' })
    }
    assert.deepEqual((await b.store.task('t1')).usage, most)
    assert.equal((await b.store.tasks({ open: true })).length, 1)
  })

  prove('signs of work are kept, and a new start has none', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', holder: b.session })
    const leased = (await b.store.leaseTask(b.session, 'life-1')) as Task
    assert.equal((await b.store.report(b.session, report(leased, { work: 7 }))).work, 7)
    assert.equal((await b.store.report(b.session, report(leased))).work, 7, 'nobody looked')
    assert.equal((await b.store.leaseTask(b.session, 'life-2'))?.work, 0)
  })

  prove('what nobody will end is failed, once, and all are told', async (fleet) => {
    const { a, b } = await fleet.channel()
    await fleet.task({ id: 't1', holder: b.session })
    const leased = (await b.store.leaseTask(b.session, 'life-1')) as Task
    const ending = {
      task: 't1',
      epoch: leased.epoch,
      reason: 'deadline',
      words: 'its deadline passed\n1. tried',
    } as const
    assert.equal(await fleet.store.endTask({ ...ending, epoch: leased.epoch + 1 }), false)
    assert.equal(await fleet.store.endTask(ending), true)
    assert.equal(await fleet.store.endTask(ending), false)
    const { state, result, attempts } = await fleet.store.task('t1')
    assert.deepEqual([state, result?.tail, attempts[0]?.end], ['failed', ending.words, 'deadline'])
    assert.deepEqual(
      (await letters(b)).map((each) => each?.type),
      ['task_assignment', 'task_revoked'],
    )
    const [told] = await letters(a)
    assert.deepEqual([told?.type, told?.type === 'status_update' && told.status], ['status_update', 'failed'])
    const [incident] = await fleet.store.incidents({ open: false })
    assert.deepEqual([incident?.kind, incident?.cause], ['task_failed', `task_failed:t1@${leased.epoch}`])
    assert.match(
      incident?.summary ?? '',
      /^task t1 failed at s2-worker-1: its deadline passed; s2 task show t1 says more$/,
    )
    await refused('conflict', b.store.report(b.session, done(leased)))
  })

  prove('a failure that its holder reports is an incident too, told by whatever channel asks', async (fleet) => {
    const { b } = await fleet.channel()
    const task = await fleet.task({ id: 't1', holder: b.session })
    await b.store.report(
      b.session,
      report(task, { state: 'failed', result: { ...RESULT, exitCode: 1, tail: 'oh no' } }),
    )
    const alerts = await fleet.store.claimAlerts(['log'], 1_000)
    assert.deepEqual(
      alerts.map(({ event, incident }) => [event, incident.summary]),
      [['opened', 'task t1 failed at s2-worker-1: exit code 1: oh no; s2 task show t1 says more']],
    )
  })

  prove('who does not take a task is reminded once', async (fleet) => {
    const { b } = await fleet.channel()
    const { epoch } = await fleet.task({ id: 't1', holder: b.session })
    assert.equal(await fleet.store.remindTask('t1', epoch + 1), false)
    assert.equal(await fleet.store.remindTask('t1', epoch), true)
    assert.equal(await fleet.store.remindTask('t1', epoch), false)
    assert.deepEqual(
      (await letters(b)).map((each) => each?.type),
      ['task_assignment', 'task_assignment'],
    )
    await b.store.leaseTask(b.session, 'life-1')
    assert.equal(await fleet.store.remindTask('t1', epoch), false)
  })

  prove('what an agent says of its place is kept until it is well', async (fleet) => {
    const { b } = await fleet.channel()
    const say = (state: 'sick' | 'parked' | 'probing', why = 'no\u0007 folder /x', until: number | null = null) =>
      b.store.noteCondition(b.session, { state, why, until })
    await say('sick')
    const [first] = await fleet.store.conditions()
    assert.deepEqual([first?.session, first?.state, first?.why], [b.session, 'sick', 'no  folder /x'])
    fleet.clock.pass(1_000)
    await say('probing')
    assert.equal((await fleet.store.conditions())[0]?.since, first?.since, 'it is the same trouble still')
    await say('parked', 'usage limit', 5_000)
    const [parked] = await fleet.store.conditions()
    assert.deepEqual([parked?.until, (parked?.since ?? 0) > (first?.since ?? 0)], [5_000, true])
    for (const [said, kept] of [
      [-1, 0],
      [Number.MAX_SAFE_INTEGER, 8.64e15],
    ] as const) {
      await say('parked', 'usage limit', said)
      const until = (await fleet.store.conditions())[0]?.until
      assert.equal(until, kept, 'no time that a date cannot show')
    }
    await b.store.noteCondition(b.session, null)
    assert.deepEqual(await fleet.store.conditions(), [])
  })

  prove('renewing shows, and tells progress', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', holder: b.session })
    const leased = (await b.store.leaseTask(b.session, 'life-1')) as Task
    const renewed = await b.store.report(b.session, report(leased, { progress: '1 of 3' }))
    assert.deepEqual([renewed.state, renewed.progress, renewed.epoch], ['in_progress', '1 of 3', leased.epoch])
    assert.ok(renewed.leaseSeq > leased.leaseSeq)
    const again = await b.store.report(b.session, report(leased))
    assert.equal(again.progress, '1 of 3', 'no news is no news')
    assert.ok(again.leaseSeq > renewed.leaseSeq)
    const long = await b.store.report(b.session, report(leased, { progress: 'x'.repeat(2 * PROGRESS_MAX) }))
    assert.equal(long.progress?.length, PROGRESS_MAX)
  })

  prove('an end is told to whoever gave the task; the same end twice is one', async (fleet) => {
    const [{ b }, giver] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await fleet.task({ id: 't1', holder: b.session, createdBy: giver.a.session })
    const leased = (await b.store.leaseTask(b.session, 'life-1')) as Task
    const ended = await b.store.report(b.session, done(leased))
    assert.deepEqual([ended.state, ended.result], ['completed', RESULT])
    assert.deepEqual(await b.store.report(b.session, done(leased)), ended)
    const told = await letters(giver.a)
    assert.deepEqual(told, [
      { type: 'status_update', task: 't1', epoch: leased.epoch, status: 'completed', summary: 'exit code 0: 42 files' },
    ])
    await refused('conflict', b.store.report(b.session, report(leased, { state: 'failed', result: RESULT })))
    await refused('conflict', b.store.report(b.session, report(leased)))
    assert.deepEqual(await fleet.store.task('t1'), ended)
    assert.equal((await letters(giver.a)).length, 1)
  })

  prove('ends that come at once are one', async (fleet) => {
    const { a, b } = await fleet.channel()
    const task = await fleet.task({ holder: b.session, createdBy: a.session })
    const reports = await Promise.allSettled([
      ...Array.from({ length: 5 }, () => b.store.report(b.session, done(task))),
      ...Array.from({ length: 5 }, () => b.store.report(b.session, report(task, { state: 'failed' }))),
    ])
    assert.equal(reports.filter(({ status }) => status === 'fulfilled').length, 5)
    assert.equal((await letters(a)).length, 1)
  })

  prove('the end of a long output is kept', async (fleet) => {
    const { b } = await fleet.channel()
    const task = await fleet.task({ holder: b.session })
    const result = { exitCode: null, signal: 'SIGKILL', tail: `${'x'.repeat(3 * TAIL_MAX)}last words` }
    const ended = await b.store.report(b.session, report(task, { state: 'failed', result }))
    assert.equal(ended.result?.tail.length, TAIL_MAX)
    assert.ok(ended.result?.tail.endsWith('last words'))
    assert.deepEqual([ended.result?.exitCode, ended.result?.signal], [null, 'SIGKILL'])
  })

  prove('only the holder’s word at the present epoch counts; others are evidence', async (fleet) => {
    const [{ b }, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ id: 't1', holder: b.session })
    const early = { ...done(task), epoch: task.epoch + 1 }
    const late = { ...done(task), epoch: task.epoch - 1 }
    await refused('not_found', other.b.store.report(other.b.session, done(task)))
    await refused('stale_epoch', b.store.report(b.session, early))
    await refused('stale_epoch', b.store.report(b.session, late))
    await refused('stale_epoch', b.store.report(b.session, late))
    assert.deepEqual(await fleet.store.task('t1'), task, 'nothing changed')
    const kept = await fleet.store.evidence('t1')
    assert.deepEqual(
      kept.map(({ holder, report }) => [holder, report]),
      [
        [b.session, early],
        [b.session, late],
      ],
      'each word once, oldest first',
    )
    assert.ok(Math.abs((kept[0]?.at ?? 0) - fleet.clock.wall()) < 10_000)
    assert.deepEqual(await fleet.store.evidence('nobody-added-this'), [])
    await refused('not_found', b.store.report(b.session, report({ id: 'nobody-added-this', epoch: 1 })))
  })

  prove('who never held a task plants nothing in it, and learns nothing of it', async (fleet) => {
    const [{ a, b }, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ id: 't1', holder: b.session })
    const texts = await Promise.all(
      [done(task), { ...done(task), task: 't2' }].map(async (each) => {
        const error = await other.b.store.report(other.b.session, each).catch((refusal: S2Error) => refusal)
        assert.equal((error as S2Error).code, 'not_found')
        return (error as S2Error).message
      }),
    )
    assert.equal(texts[0], texts[1]?.replace('t2', 't1'), 'it reads like a task that is none')
    await refused('not_found', a.store.report(a.session, done(task)))
    const letter = JSON.stringify({ type: 'status_update', task_id: 't1', status: 'completed', summary: 'planted' })
    await other.b.store.send(other.b.session, 'k', { text: letter })
    assert.deepEqual(await fleet.store.evidence('t1'), [])
    assert.deepEqual(await fleet.store.task('t1'), task)
  })

  prove('what one former holder says too late leaves room for what another does', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ id: 't1', holder: one.b.session })
    await fleet.store.move({ task: 't1', epoch: task.epoch, to: other.b.session, reason: 'silent' })
    await fleet.store.move({ task: 't1', epoch: task.epoch + 1, to: one.b.session, reason: 'silent' })
    const words = Array.from({ length: EVIDENCE_MAX + 5 }, (_, n) => {
      return one.b.store.report(one.b.session, { ...done(task), progress: `try ${n}` })
    })
    await Promise.allSettled(words)
    await refused('stale_epoch', other.b.store.report(other.b.session, done(task)))
    const kept = await fleet.store.evidence('t1')
    assert.equal(kept.length, EVIDENCE_MAX + 1)
    assert.equal(kept.at(-1)?.holder, other.b.session)
  })

  prove('nobody can fill the store with late words', async (fleet) => {
    const { b } = await fleet.channel()
    const task = await fleet.task({ holder: b.session })
    const words = Array.from({ length: EVIDENCE_MAX + 20 }, (_, n) => {
      return b.store.report(b.session, { ...done(task), epoch: task.epoch + 1, progress: `try ${n}` })
    })
    for (const { status } of await Promise.allSettled(words)) assert.equal(status, 'rejected')
    assert.equal((await fleet.store.evidence(task.id)).length, EVIDENCE_MAX)
  })
}

function proveMoves(prove: Prove): void {
  const by = (task: Task, to: SessionId | null, reason: MoveReason = 'silent') => {
    return { task: task.id, epoch: task.epoch, to, reason }
  }

  prove('a move changes the owner and tells all three', async (fleet) => {
    const [from, to, giver] = [await fleet.channel('w-1'), await fleet.channel('w-2'), await fleet.channel('w-3')]
    await fleet.task({ id: 't1', holder: from.b.session, createdBy: giver.a.session })
    const leased = (await from.b.store.leaseTask(from.b.session, 'life-1')) as Task
    await from.b.store.report(from.b.session, report(leased, { progress: 'half' }))
    assert.equal(await fleet.store.move(by(leased, to.b.session)), true)
    const moved = await fleet.store.task('t1')
    const { state, epoch, holder, priority, originalAssignee, incarnation, moves } = moved
    assert.deepEqual(
      { state, epoch, holder, priority, originalAssignee, incarnation, moves },
      {
        state: 'assigned',
        epoch: leased.epoch + 1,
        holder: to.b.session,
        priority: 'P0',
        originalAssignee: from.b.session,
        incarnation: null,
        moves: 1,
      },
    )
    const [assigned] = await letters(to.b)
    assert.deepEqual([assigned?.type, assigned?.task], ['task_assignment', 't1'])
    assert.equal(assigned?.type === 'task_assignment' && assigned.epoch, epoch)
    const revoked = (await letters(from.b)).at(-1)
    assert.deepEqual([revoked?.type, revoked?.task], ['task_revoked', 't1'])
    assert.deepEqual(await letters(giver.a), [
      { type: 'task_moved', task: 't1', from: from.b.session, to: to.b.session, reason: 'silent' },
    ])
  })

  prove(
    'what a lost owner had begun becomes P0, and what only waited there stays as urgent as it was',
    async (fleet) => {
      const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
      for (const id of ['begun', 'waiting']) await fleet.task({ id, holder: from.b.session })
      await from.b.store.leaseTask(from.b.session, 'life-1')
      for (const id of ['begun', 'waiting']) {
        assert.equal(await fleet.store.move(by(await fleet.store.task(id), to.b.session)), true)
      }
      const priorities = ['begun', 'waiting'].map(async (id) => (await fleet.store.task(id)).priority)
      assert.deepEqual(await Promise.all(priorities), ['P0', 'P2'])
      assert.equal((await to.b.store.leaseTask(to.b.session, 'life-2'))?.id, 'begun')
    },
  )

  prove('a task of the Python protocol is begun by its acknowledgment', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    for (const id of ['begun', 'waiting']) {
      const text = JSON.stringify({ type: 'task_assignment', task_id: id, description: 'do it', priority: 'P1' })
      await from.a.store.send(from.a.session, id, { text })
    }
    const text = JSON.stringify({ type: 'acknowledgment', task_id: 'begun' })
    await from.b.store.send(from.b.session, 'k', { text })
    for (const id of ['begun', 'waiting']) await fleet.store.move(by(await fleet.store.task(id), to.b.session))
    const priorities = ['begun', 'waiting'].map(async (id) => (await fleet.store.task(id)).priority)
    assert.deepEqual(await Promise.all(priorities), ['P0', 'P1'])
  })

  prove('the former owner is fenced off', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await fleet.task({ id: 't1', holder: from.b.session })
    const leased = (await from.b.store.leaseTask(from.b.session, 'life-1')) as Task
    await fleet.store.move(by(leased, to.b.session))
    await refused('stale_epoch', from.b.store.report(from.b.session, report(leased)))
    await refused('stale_epoch', from.b.store.report(from.b.session, done(leased)))
    assert.equal(await from.b.store.leaseTask(from.b.session, 'life-1'), null)
    const taken = (await to.b.store.leaseTask(to.b.session, 'life-9')) as Task
    assert.equal((await to.b.store.report(to.b.session, done(taken))).state, 'completed')
    const late = await fleet.store.evidence('t1')
    assert.ok(late.some(({ report: { state, epoch } }) => state === 'completed' && epoch === leased.epoch))
  })

  prove('many moves at once by one epoch are one', async (fleet) => {
    const [from, ...others] = await Promise.all(['w-1', 'w-2', 'w-3', 'w-4'].map((name) => fleet.channel(name)))
    const task = await fleet.task({ holder: from?.b.session ?? null })
    const moves = [...others, ...others, ...others].map(({ b }) => fleet.store.move(by(task, b.session)))
    assert.equal((await Promise.all(moves)).filter((moved) => moved).length, 1)
    const assigned = await Promise.all(others.map(({ b }) => letters(b)))
    assert.equal(assigned.flat().length, 1)
    assert.equal((await fleet.store.task(task.id)).epoch, task.epoch + 1)
  })

  prove('what has moved on, or ended, is not moved', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ holder: from.b.session })
    assert.equal(await fleet.store.move({ ...by(task, to.b.session), epoch: task.epoch - 1 }), false)
    assert.equal(await fleet.store.move({ ...by(task, to.b.session), epoch: task.epoch + 1 }), false)
    await from.b.store.report(from.b.session, done(task))
    assert.equal(await fleet.store.move(by(task, to.b.session)), false)
    assert.deepEqual(await letters(to.b), [])
    await refused('not_found', fleet.store.move({ ...by(task, to.b.session), task: 'nobody-added-this' }))
  })

  prove('nothing is moved to whoever cannot take it', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ holder: from.b.session })
    await refused('not_found', fleet.store.move(by(task, 'conv_0000000000000000/b')))
    await refused('invalid', fleet.store.move(by(task, to.a.session)))
    await fleet.store.endConversation(to.id)
    await refused('expired', fleet.store.move(by(task, to.b.session)))
    assert.deepEqual(await fleet.store.task(task.id), task)
    assert.equal((await letters(from.b)).length, 1)
  })

  prove('the first assignee is remembered over many moves', async (fleet) => {
    const [one, two, three] = [await fleet.channel('w-1'), await fleet.channel('w-2'), await fleet.channel('w-3')]
    const task = await fleet.task({ holder: one.b.session })
    await fleet.store.move(by(task, two.b.session))
    const second = await fleet.store.task(task.id)
    await fleet.store.move(by(second, three.b.session, 'lease_lapsed'))
    const third = await fleet.store.task(task.id)
    assert.deepEqual([third.originalAssignee, third.moves, third.epoch], [one.b.session, 2, task.epoch + 2])
  })

  prove('a task may be taken from its holder and dealt anew', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ holder: from.b.session })
    assert.equal(await fleet.store.move(by(task, null, 'by_hand')), true)
    const pending = await fleet.store.task(task.id)
    assert.deepEqual([pending.state, pending.holder, pending.epoch], ['pending', null, task.epoch + 1])
    assert.equal(await from.b.store.leaseTask(from.b.session, 'life-1'), null)
    assert.equal(await fleet.store.move(by(pending, to.b.session, 'unassigned')), true)
    assert.equal((await to.b.store.leaseTask(to.b.session, 'life-1'))?.id, task.id)
  })

  prove('a move from a place that cannot work makes a task no more urgent', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ priority: 'P2', holder: from.b.session })
    assert.equal(await fleet.store.move(by(task, to.b.session, 'holder_sick')), true)
    assert.equal((await fleet.store.task(task.id)).priority, 'P2')
  })

  prove('whoever gets a task after its deadline has as long again, and no other comes after', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const deadline = fleet.clock.wall() + 60_000
    const task = await fleet.task({ holder: from.b.session, deadline, onDeadline: 'move' })
    fleet.clock.pass(60_000)
    assert.equal(await fleet.store.move(by(task, to.b.session, 'deadline')), true)
    const moved = await fleet.store.task(task.id)
    assert.equal(moved.onDeadline, 'fail')
    assert.ok(Math.abs((moved.deadline ?? 0) - (deadline + 60_000)) < 10_000)
  })

  prove('dealing what nobody had is no emergency', async (fleet) => {
    const { b } = await fleet.channel()
    const task = await fleet.task({ priority: 'P3' })
    assert.equal(await fleet.store.move(by(task, b.session, 'unassigned')), true)
    const { priority, moves, originalAssignee, epoch } = await fleet.store.task(task.id)
    assert.deepEqual([priority, moves, originalAssignee, epoch], ['P3', 0, null, task.epoch + 1])
  })

  prove('one whose conversation has ended is told nothing', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ holder: from.b.session, createdBy: from.a.session })
    await fleet.store.endConversation(from.id)
    assert.equal(await fleet.store.move(by(task, to.b.session, 'conversation_ended')), true)
    assert.equal((await letters(to.b)).length, 1)
  })
}

function proveLetters(prove: Prove): void {
  const say = (end: End, key: string, fields: object): Promise<Message> => {
    return end.store.send(end.session, key, { text: JSON.stringify(fields) })
  }

  prove('an orchestrator’s assignment is a task of its partner', async (fleet) => {
    const { a, b } = await fleet.channel()
    const letter = { type: 'task_assignment', task_id: 'T-1', description: 'do it', priority: 'high', role: 'tests' }
    await say(a, 'o', { type: 'task_assignment', task_id: 'T-0', description: 'do it' })
    assert.equal((await fleet.store.task('T-0')).role, 'tests', 'the role of whom it was given to')
    await fleet.store.cancelTask('T-0')
    await b.store.mark(
      b.session,
      (await unread(b)).map(({ id }) => id),
      'acked',
    )
    await say(a, 'k', letter)
    await say(a, 'k', letter)
    const { description, priority, role, state, holder, createdBy } = await fleet.store.task('T-1')
    assert.deepEqual(
      { description, priority, role, state, holder, createdBy },
      {
        description: 'do it',
        priority: 'P1',
        role: 'tests',
        state: 'assigned',
        holder: b.session,
        createdBy: a.session,
      },
    )
    assert.equal((await unread(b)).length, 1, 'the letter itself is enough')
    await say(a, 'l', { ...letter, description: 'do something else' })
    assert.equal((await fleet.store.task('T-1')).state, 'cancelled', 'nobody had begun it')
    const leased = await b.store.leaseTask(b.session, 'life-1')
    assert.deepEqual([leased?.id, leased?.description], ['T-1.2', 'do something else'])
    assert.equal((await unread(b)).length, 2, 'the letters themselves are enough')
  })

  prove('one name in two conversations is two tasks, and each report counts for its own', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await say(one.a, 'k', { type: 'task_assignment', task_id: 'T-1', description: 'the backend' })
    await say(other.a, 'k', { type: 'task_assignment', task_id: 'T-1', description: 'the frontend' })
    await say(other.b, 'l', { type: 'status_update', task_id: 'T-1', status: 'completed', summary: 'by w-2' })
    assert.equal((await fleet.store.task('T-1')).state, 'assigned')
    const theirs = await fleet.store.task('T-1.2')
    assert.deepEqual(
      [theirs.holder, theirs.description, theirs.state, theirs.result?.tail],
      [other.b.session, 'the frontend', 'completed', 'by w-2'],
    )
    await say(one.b, 'l', { type: 'status_update', task_id: 'T-1', status: 'completed', summary: 'by w-1' })
    assert.equal((await fleet.store.task('T-1')).result?.tail, 'by w-1')
  })

  prove(
    'a name that is given again is a new attempt where its task has ended, and the same task before',
    async (fleet) => {
      const { a, b } = await fleet.channel()
      const letter = { type: 'task_assignment', task_id: 'daily', description: 'the report' }
      await say(a, 'k1', letter)
      await say(a, 'k2', letter)
      assert.equal((await fleet.store.tasks({})).length, 1)
      await say(b, 'k1', { type: 'task_completed', task_id: 'daily', summary: 'first' })
      for (const day of [2, 3, 4, 5]) {
        await say(a, `d${day}`, letter)
        await say(b, `d${day}`, { type: 'task_completed', task_id: 'daily', summary: `day ${day}` })
      }
      const tasks = await fleet.store.tasks({})
      assert.deepEqual(
        tasks.map(({ id, result }) => [id, result?.tail]),
        [['daily', 'first'], ...[2, 3, 4, 5].map((day) => [`daily.${day}`, `day ${day}`])],
      )
    },
  )

  prove('another text while it is begun is a second task, and the first report is for the first one', async (fleet) => {
    const { a, b } = await fleet.channel()
    await say(a, 'k1', { type: 'task_assignment', task_id: 'T', description: 'the first' })
    await say(b, 'k1', { type: 'acknowledgment', task_id: 'T' })
    await say(a, 'k2', { type: 'task_assignment', task_id: 'T', description: 'the second' })
    await say(b, 'k2', { type: 'acknowledgment', task_id: 'T' })
    const states = async (): Promise<string[]> => (await fleet.store.tasks({})).map(({ state }) => state)
    assert.deepEqual(await states(), ['accepted', 'accepted'])
    await say(b, 'k3', { type: 'status_update', task_id: 'T', status: 'done' })
    assert.deepEqual(await states(), ['completed', 'accepted'])
    await say(a, 'k3', { type: 'task_cancelled', task_id: 'T' })
    assert.deepEqual(await states(), ['completed', 'cancelled'])
  })

  prove('what S2 has moved comes back where it is given again', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const letter = { type: 'task_assignment', task_id: 'T', description: 'do it' }
    await say(one.a, 'k1', letter)
    await fleet.store.move({ task: 'T', epoch: 1, to: other.b.session, reason: 'silent' })
    const before = (await unread(one.b)).length
    await say(one.a, 'k2', letter)
    const { holder, epoch, priority } = await fleet.store.task('T')
    assert.deepEqual([holder, epoch, priority], [one.b.session, 3, 'P2'])
    assert.equal((await letters(other.b)).at(-1)?.type, 'task_revoked')
    assert.equal((await unread(one.b)).length, before + 1, 'the letter itself is enough')
    await say(other.b, 'k', { type: 'status_update', task_id: 'T', status: 'done', summary: 'late' })
    const [late] = await fleet.store.evidence('T')
    assert.deepEqual([late?.report.epoch, late?.holder], [2, other.b.session])
  })

  prove('an orchestrator gives a task to another of its workers, and no other’s task', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await say(one.a, 'k', { type: 'task_assignment', task_id: 'T', description: 'do it', priority: 'P2' })
    const letter = { type: 'task_assignment', description: 'do it (reassigned from w-1)', priority: 'P0' }
    await say(other.a, 'k1', { ...letter, task_id: 'T-reassigned', original_assignee: 'w-1', timeout: 60 })
    const { holder, epoch, priority, deadline, updatedAt } = await fleet.store.task('T')
    assert.deepEqual([holder, epoch, priority, deadline], [other.b.session, 2, 'P0', updatedAt + 60_000])
    assert.equal((await letters(one.b)).at(-1)?.type, 'task_revoked')
    assert.deepEqual([await letters(one.a), await letters(other.a)], [[], []])
    await say(other.b, 'k2', { type: 'task_completed', task_id: 'T-reassigned' })
    assert.equal((await fleet.store.task('T')).state, 'completed')
    const foreign = await fleet.store.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'another orchestrator', b: 'w-9' },
      lifetimeMs: LIFETIME_MS,
    })
    await say(one.a, 'k9', { type: 'task_assignment', task_id: 'U', description: 'do it' })
    const text = JSON.stringify({ ...letter, task_id: 'U-reassigned', original_assignee: 'w-1' })
    await fleet.store.send(sessionId(foreign.id, 'a'), 'k', { text })
    assert.equal((await fleet.store.task('U')).holder, one.b.session)
    assert.equal((await fleet.store.task('U-reassigned')).holder, sessionId(foreign.id, 'b'))
  })

  prove(
    'which of several workers’ tasks is reassigned the former worker’s name says; else it is a task of its own',
    async (fleet) => {
      const [one, two, three] = [await fleet.channel('w-1'), await fleet.channel('w-2'), await fleet.channel('w-3')]
      for (const { a } of [one, two, three])
        await say(a, 'k', { type: 'task_assignment', task_id: 'T', description: 'do it' })
      const letter = { type: 'task_assignment', task_id: 'T-reassigned', description: 'again' }
      await say(three.a, 'k1', { ...letter, original_assignee: 'W-2' })
      assert.deepEqual(
        (await fleet.store.tasks({})).map(({ id, holder }) => [id, holder]),
        [
          ['T', one.b.session],
          ['T.2', three.b.session],
          ['T.3', three.b.session],
        ],
      )
      await say(two.a, 'k1', letter)
      assert.equal((await fleet.store.task('T-reassigned')).holder, two.b.session, 'nobody can tell which is meant')
      assert.equal((await fleet.store.task('T')).holder, one.b.session)
    },
  )

  prove('the holder’s words move its task', async (fleet) => {
    const { a, b } = await fleet.channel()
    await say(a, 'k', { type: 'task_assignment', task_id: 7, description: 'do it' })
    const state = async (): Promise<string> => (await fleet.store.task('7')).state
    await say(b, 'k1', { type: 'acknowledgment', task_id: 7 })
    assert.equal(await state(), 'accepted')
    await say(b, 'k2', { type: 'status_update', task_id: '7', status: 'In Progress', summary: 'half' })
    assert.equal(await state(), 'in_progress')
    await say(b, 'k3', { type: 'status_update', task_id: '7', status: 'blocked', summary: 'no disk' })
    assert.equal((await fleet.store.task('7')).progress, 'blocked: no disk')
    await say(b, 'k3b', { type: 'status_update', task_id: '7', status: 'in_progress' })
    assert.equal((await fleet.store.task('7')).progress, null, 'who goes on is not blocked any more')
    await say(b, 'k3c', { type: 'status_update', task_id: '7', status: 'blocked' })
    assert.equal((await fleet.store.task('7')).progress, 'blocked: no reason given')
    await say(b, 'k4', { type: 'status_update', task_id: '7', status: 'completed', summary: 'all of it' })
    const ended = await fleet.store.task('7')
    assert.deepEqual([ended.state, ended.progress, ended.result?.tail], ['completed', null, 'all of it'])
    assert.deepEqual(await letters(a), [], 'its reader has the words themselves')
    await say(b, 'k5', { type: 'status_update', task_id: '7', status: 'failed' })
    assert.equal(await state(), 'completed')
  })

  prove('a timeout is a deadline, and the next holder hears what is left of it', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const assign = { type: 'task_assignment', description: 'do it' }
    await say(one.a, 'k', { ...assign, task_id: 'T-1', timeout: '300' })
    await say(one.a, 'l', { ...assign, task_id: 'T-2', timeout: -300 })
    const { createdAt, deadline, onDeadline, epoch } = await fleet.store.task('T-1')
    assert.deepEqual([deadline, onDeadline], [createdAt + 300_000, 'move'])
    assert.equal((await fleet.store.task('T-2')).deadline, null)
    await fleet.store.move({ task: 'T-1', epoch, to: other.b.session, reason: 'by_hand' })
    const moved = await fleet.store.task('T-1')
    assert.equal(moved.deadline, deadline)
    const [letter] = await letters(other.b)
    assert.equal(letter?.type === 'task_assignment' && letter.timeoutMs, 300_000 - (moved.updatedAt - createdAt))
  })

  prove('others’ words move nothing; a former holder’s late end is evidence', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    await say(one.a, 'k', { type: 'task_assignment', task_id: 'T-1', description: 'do it' })
    const task = await fleet.store.task('T-1')
    await say(other.b, 'k', { type: 'status_update', task_id: 'T-1', status: 'in_progress' })
    await say(other.a, 'l', { type: 'status_update', task_id: 'T-1', status: 'completed' })
    await say(other.a, 'm', { type: 'task_cancelled', task_id: 'T-1' })
    assert.deepEqual(await fleet.store.task('T-1'), task)
    await fleet.store.move({ task: 'T-1', epoch: task.epoch, to: other.b.session, reason: 'silent' })
    await say(one.b, 'm', { type: 'status_update', task_id: 'T-1', status: 'done', summary: 'late' })
    assert.equal((await fleet.store.task('T-1')).state, 'assigned')
    const [late] = await fleet.store.evidence('T-1')
    assert.deepEqual([late?.holder, late?.report.result?.tail], [one.b.session, 'late'])
    await say(other.b, 'm', { type: 'status_update', task_id: 'T-1', epoch: task.epoch, status: 'done' })
    assert.equal((await fleet.store.task('T-1')).state, 'assigned', 'a letter that names an epoch is held to it')
  })

  prove('a worker whose orchestrator gave the task to another says nothing of it', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ holder: other.b.session, createdBy: one.a.session })
    for (const [key, status] of Object.entries({ k1: 'completed', k2: 'failed', k3: 'cancelled', k4: 'in_progress' }))
      await say(one.b, key, { type: 'status_update', task_id: task.id, status, summary: 'mine' })
    assert.deepEqual(await fleet.store.task(task.id), task)
    assert.deepEqual(await fleet.store.evidence(task.id), [])
  })

  prove('its giver ends a task, and whoever else has it is told to stop', async (fleet) => {
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    for (const id of ['T-1', 'T-2', 'T-3']) {
      await say(one.a, id, { type: 'task_assignment', task_id: id, description: 'do it' })
      await fleet.store.move({ task: id, epoch: 1, to: other.b.session, reason: 'silent' })
    }
    const before = { one: (await letters(one.b)).length, other: (await letters(other.b)).length }
    await say(one.a, 'k1', { type: 'status_update', task_id: 'T-1', status: 'withdrawn' })
    await say(one.a, 'k2', { type: 'task_completed', task_id: 'T-2', summary: 'I did it' })
    await say(one.a, 'k3', { type: 'status_update', task_id: 'T-3', status: 'in_progress' })
    assert.equal((await fleet.store.task('T-1')).state, 'cancelled')
    const completed = await fleet.store.task('T-2')
    assert.deepEqual([completed.state, completed.result?.tail], ['completed', 'its giver says: I did it'])
    assert.equal((await fleet.store.task('T-3')).state, 'assigned', 'how far it is, its holder says')
    const told = (await letters(other.b)).slice(before.other)
    assert.deepEqual(
      told.map(({ type, task }) => [type, task]),
      [
        ['task_revoked', 'T-1'],
        ['task_revoked', 'T-2'],
      ],
    )
    assert.equal((await letters(one.b)).length, before.one, 'there the message itself is')
    await say(one.a, 'k4', { type: 'task_cancelled', task_id: 'T-2' })
    assert.equal((await fleet.store.task('T-2')).state, 'completed', 'an end is an end')
  })

  prove('a holder may withdraw its task, and one that declines it has failed at it', async (fleet) => {
    const { a, b } = await fleet.channel()
    for (const id of ['T-1', 'T-2']) await say(a, id, { type: 'task_assignment', task_id: id, description: 'do it' })
    await say(b, 'k1', { type: 'status_update', task_id: 'T-1', status: 'cancelled' })
    assert.equal((await fleet.store.task('T-1')).state, 'cancelled')
    assert.deepEqual(await fleet.store.incidents({ open: false }), [])
    await say(b, 'k2', { type: 'status_update', task_id: 'T-2', status: 'declined', reason: 'not my work' })
    const declined = await fleet.store.task('T-2')
    assert.deepEqual([declined.state, declined.result?.tail], ['failed', 'declined: not my work'])
    assert.deepEqual(
      (await fleet.store.incidents({ open: false })).map(({ kind }) => kind),
      ['task_failed'],
    )
    assert.deepEqual(await letters(a), [], 'its reader has the words themselves')
  })

  prove('a worker gives no work, and hostile texts are only texts', async (fleet) => {
    const { a, b } = await fleet.channel()
    await say(b, 'k', { type: 'task_assignment', task_id: 'T-1', description: 'for my boss' })
    const hostile = [
      '{"type":"task_assignment"}',
      '{"type":"task_assignment","task_id":"../../x"}',
      '{"type":"task_assignment","task_id":{"a":1}}',
      '{"type":["task_assignment"],"task_id":"T-2"}',
      '{"__proto__":{"type":"task_assignment","task_id":"T-3"}}',
      '{"type":"toString","task_id":"T-4"}',
      '{"type":"status_update","task_id":"T-5","status":"completed"}',
      '{"type":"status_update","task_id":"T-5","status":"constructor"}',
      `${'{"type":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
      `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
      '{',
      '{}',
      'null',
      '[]',
      '"task_assignment"',
      '```json\n{"type":\n```',
      '{"type":"task_assignment","task_id":"T-6"',
    ]
    for (const [n, text] of hostile.entries()) await a.store.send(a.session, `h${n}`, { text })
    assert.deepEqual(await fleet.store.tasks({}), [])
    assert.equal((await unread(b)).length, hostile.length)
  })

  prove('S2’s own letters mean nothing twice', async (fleet) => {
    const [from, to] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const task = await fleet.task({ holder: from.b.session, createdBy: from.a.session })
    await fleet.store.move({ task: task.id, epoch: task.epoch, to: to.b.session, reason: 'silent' })
    const moved = await fleet.store.task(task.id)
    await to.b.store.report(to.b.session, done(moved))
    assert.equal((await fleet.store.tasks({})).length, 1)
    assert.equal((await fleet.store.task(task.id)).state, 'completed')
  })
}

const SILENT: NewIncident = { cause: 'silent:w-1', kind: 'silent', agent: 'w-1', summary: 'w-1 was not heard' }

function proveIncidents(prove: Prove): void {
  const needs = ['openIncident'] as const

  prove(
    'one cause is open once',
    async ({ store, clock }) => {
      const opens = await Promise.all(Array.from({ length: 5 }, () => store.openIncident(SILENT, [])))
      assert.equal(opens.filter((opened) => opened).length, 1)
      const [incident] = await store.incidents({ open: true })
      assert.ok(incident !== undefined)
      const { id, openedAt, ...rest } = incident
      assert.deepEqual(rest, { ...SILENT, closedAt: null, outcome: null, retold: 0 })
      assert.ok(Math.abs(openedAt - clock.wall()) < 10_000)
      assert.equal(await store.closeIncident(SILENT.cause, []), true)
      assert.equal(await store.closeIncident(SILENT.cause, []), false)
      assert.deepEqual(await store.incidents({ open: true }), [])
      const [closed] = await store.incidents({ open: false })
      assert.ok((closed?.closedAt ?? 0) >= openedAt)
      assert.equal(await store.openIncident(SILENT, []), true)
      const [again] = await store.incidents({ open: true })
      assert.ok((again?.id ?? 0) > id)
      assert.equal((await store.incidents({ open: false })).length, 2)
    },
    ...needs,
  )

  prove(
    'what was read before the last change of an incident changes it no more',
    async ({ store, clock }) => {
      assert.equal(await store.openIncident(SILENT, [], 5_000), true)
      clock.pass(10_000)
      assert.equal(await store.closeIncident(SILENT.cause, ['log'], null, 20_000), false)
      assert.deepEqual([(await store.incidents({ open: true })).length, await store.claimAlerts(['log'], 1)], [1, []])
      assert.equal(await store.closeIncident(SILENT.cause, [], null, 5_000), true)
      clock.pass(10_000)
      assert.equal(await store.openIncident(SILENT, ['log'], 20_000), false)
      assert.deepEqual([await store.incidents({ open: true }), await store.claimAlerts(['log'], 1)], [[], []])
      assert.equal(await store.openIncident({ ...SILENT, cause: 'silent:w-2' }, [], 20_000), true)
      assert.equal(await store.openIncident(SILENT, [], 5_000), true)
    },
    ...needs,
  )

  prove(
    'a clock that is put back keeps no incident from being opened or closed',
    async ({ store, clock }) => {
      await store.openIncident(SILENT, [])
      clock.pass(-3_600_000)
      assert.equal(await store.closeIncident(SILENT.cause, [], null, 1_000), true)
      clock.pass(-3_600_000)
      assert.equal(await store.openIncident(SILENT, [], 1_000), true)
    },
    ...needs,
  )

  prove(
    'each channel is told once, by whoever claims it',
    async ({ store }) => {
      await store.openIncident(SILENT, ['log', 'exec'])
      assert.deepEqual(await store.claimAlerts(['webhook'], 60_000), [])
      const claims = await Promise.all(Array.from({ length: 4 }, () => store.claimAlerts(['log', 'exec'], 60_000)))
      const alerts = claims.flat()
      assert.deepEqual(alerts.map(({ channel }) => channel).sort(), ['exec', 'log'])
      for (const { incident, event, attempts } of alerts) {
        assert.deepEqual([incident.cause, event, attempts], [SILENT.cause, 'opened', 0])
      }
      for (const alert of alerts) await store.settleAlert(alert, 'told')
      for (const alert of alerts) await store.settleAlert(alert, 'told')
      assert.deepEqual(await store.claimAlerts(['log', 'exec'], 60_000), [])
    },
    ...needs,
  )

  prove(
    'a claim runs out, and what was not told comes again when it is due',
    async ({ store, clock }) => {
      await store.openIncident(SILENT, ['log'])
      assert.equal((await store.claimAlerts(['log'], 100_000)).length, 1)
      assert.deepEqual(await store.claimAlerts(['log'], 100_000), [])
      clock.pass(100_001)
      const [second] = await store.claimAlerts(['log'], 60_000)
      assert.equal(second?.attempts, 1)
      await store.settleAlert(second as Alert, { retryMs: 500_000 })
      clock.pass(400_000) // a machine that stalls makes it more
      assert.deepEqual(await store.claimAlerts(['log'], 60_000), [])
      clock.pass(100_001)
      const [third] = await store.claimAlerts(['log'], 60_000)
      assert.equal(third?.attempts, 2)
    },
    ...needs,
  )

  prove(
    'an end is told after its beginning',
    async ({ store }) => {
      await store.openIncident(SILENT, ['log'])
      await store.closeIncident(SILENT.cause, ['log'])
      const [opened, ...more] = await store.claimAlerts(['log'], 60_000)
      assert.deepEqual([opened?.event, more.length], ['opened', 0])
      assert.deepEqual(await store.claimAlerts(['log'], 60_000), [])
      await store.settleAlert(opened as Alert, 'told')
      const [closed] = await store.claimAlerts(['log'], 60_000)
      assert.deepEqual([closed?.event, closed?.incident.id], ['closed', opened?.incident.id])
      assert.notEqual(closed?.incident.closedAt, null)
    },
    ...needs,
  )

  prove(
    'what is over and why is kept with the incident, without secrets, and told with its end',
    async ({ store }) => {
      await store.openIncident(SILENT, ['log'])
      for (const alert of await store.claimAlerts(['log'], 60_000)) await store.settleAlert(alert, 'told')
      await store.closeIncident(SILENT.cause, ['log'], `w-1 was heard again, token=${'0123456789abcdef'.repeat(4)}`)
      const outcome = 'w-1 was heard again, token=[redacted session-token]'
      assert.deepEqual(
        (await store.incidents({ open: false })).map((each) => each.outcome),
        [outcome],
      )
      const [closed] = await store.claimAlerts(['log'], 60_000)
      assert.equal(closed?.incident.outcome, outcome)
      await store.openIncident(SILENT, [])
      await store.closeIncident(SILENT.cause, [])
      assert.deepEqual(
        (await store.incidents({ open: false })).map((each) => each.outcome),
        [outcome, null],
      )
    },
    ...needs,
  )

  prove(
    'an alert for every channel becomes one for each that the first claimer knows, and is told once by each',
    async ({ store }) => {
      await store.openIncident(SILENT, ['*'])
      const all = ['log', 'exec']
      const claims = await Promise.all([store.claimAlerts(all, 60_000), store.claimAlerts(all, 60_000)])
      assert.deepEqual(
        claims
          .flat()
          .map(({ channel }) => channel)
          .sort(),
        ['exec', 'log'],
      )
      assert.deepEqual(await store.claimAlerts(['webhook'], 60_000), [], 'whoever comes first knows the channels')
      for (const alert of claims.flat()) await store.settleAlert(alert, 'told')
      await store.closeIncident(SILENT.cause, ['*', 'log'])
      const [ofExec, ...others] = await store.claimAlerts(['exec'], 60_000, all)
      assert.deepEqual([ofExec?.event, ofExec?.channel, others.length], ['closed', 'exec', 0])
      const [ofLog, ...more] = await store.claimAlerts(['log'], 60_000, all)
      assert.deepEqual([ofLog?.event, ofLog?.channel, more.length], ['closed', 'log', 0])
      assert.deepEqual(await store.claimAlerts(['*'], 60_000, all), [])
    },
    ...needs,
  )

  prove(
    'an event is opened and closed in one go, told once, and its cause is never opened again',
    async ({ store, clock }) => {
      const event: NewIncident = { cause: 'task_failed:t', kind: 'task_failed', agent: null, summary: 't failed' }
      const opens = await Promise.all(Array.from({ length: 3 }, () => store.openIncident(event, ['log'])))
      assert.deepEqual(opens.filter((opened) => opened).length, 1)
      assert.deepEqual(await store.incidents({ open: true }), [])
      const [kept] = await store.incidents({ open: false })
      assert.equal(kept?.closedAt, kept?.openedAt)
      const [alert, ...more] = await store.claimAlerts(['log'], 60_000)
      assert.deepEqual([alert?.event, more.length], ['opened', 0])
      await store.settleAlert(alert as Alert, 'told')
      clock.pass(100_000)
      assert.equal(await store.closeIncident(event.cause, ['log']), false)
      assert.equal(await store.openIncident(event, ['log']), false)
      assert.deepEqual(await store.claimAlerts(['log'], 60_000), [])
      assert.equal((await store.incidents({ open: false })).length, 1)
    },
    ...needs,
  )

  prove(
    'an incident that lasts is told again so many times, by whichever watchdog is first',
    async ({ store }) => {
      assert.equal(await store.retellIncident(SILENT.cause, 1, ['log']), false, 'it is not open')
      await store.openIncident(SILENT, ['log'])
      const firsts = await Promise.all(Array.from({ length: 3 }, () => store.retellIncident(SILENT.cause, 1, ['log'])))
      assert.equal(firsts.filter((first) => first).length, 1)
      const [opened, ...more] = await store.claimAlerts(['log'], 60_000)
      assert.deepEqual([opened?.event, more.length], ['opened', 0], 'after its beginning')
      await store.settleAlert(opened as Alert, 'told')
      const [lasting] = await store.claimAlerts(['log'], 60_000)
      assert.deepEqual([lasting?.event, lasting?.incident.retold], ['lasting', 1])
      await store.settleAlert(lasting as Alert, 'told')
      assert.deepEqual(await store.claimAlerts(['log'], 60_000), [])
      assert.equal(await store.retellIncident(SILENT.cause, 2, ['log']), true)
      await store.closeIncident(SILENT.cause, ['log'])
      const ends = await store.claimAlerts(['log'], 60_000)
      assert.deepEqual(
        ends.map(({ event }) => event),
        ['closed'],
        'nobody is told that it lasts when it is over',
      )
      assert.equal(await store.retellIncident(SILENT.cause, 3, ['log']), false)
    },
    ...needs,
  )

  prove(
    'a clock that is put back keeps nobody from being told',
    async ({ store, clock }) => {
      const HOURS_MS = 3 * 3_600_000
      await store.openIncident(SILENT, ['log'])
      clock.pass(-HOURS_MS)
      assert.equal((await store.claimAlerts(['log'], 100_000)).length, 1)
      clock.pass(-HOURS_MS)
      assert.deepEqual(await store.claimAlerts(['log'], 100_000), [], 'a claim holds')
      clock.pass(100_001)
      const [again] = await store.claimAlerts(['log'], 100_000)
      assert.equal(again?.attempts, 1, 'and runs out by the clock as it is now')
      await store.settleAlert(again as Alert, { retryMs: 100_000 })
      clock.pass(-HOURS_MS)
      assert.deepEqual(await store.claimAlerts(['log'], 100_000), [])
      clock.pass(100_001)
      assert.equal((await store.claimAlerts(['log'], 100_000)).length, 1, 'what waits for its next try waits no longer')
    },
    ...needs,
  )
}

function proveAudit(prove: Prove): void {
  prove('every act is in a chain that anybody can verify', async (fleet) => {
    const { store } = fleet
    const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const sent = await one.a.store.send(one.a.session, 'k', { text: 'a secret plan' })
    await one.b.store.mark(one.b.session, [sent.id], 'acked')
    const task = await fleet.task({ holder: one.b.session })
    await store.move({ task: task.id, epoch: task.epoch, to: other.b.session, reason: 'silent' })
    const leased = (await other.b.store.leaseTask(other.b.session, 'life-1')) as Task
    await refused('stale_epoch', one.b.store.report(one.b.session, done(task)))
    await other.b.store.report(other.b.session, done(leased))
    await store.cancelTask((await fleet.task()).id)
    await store.endConversation(one.id)
    const entries = await store.audit(0, 1_000)
    let previous = AUDIT_ROOT
    for (const [index, entry] of entries.entries()) {
      assert.equal(entry.seq, index + 1)
      assert.equal(entry.hash, auditHash(previous, hashedEntryOf(entry)), `entry ${entry.seq}`)
      previous = entry.hash
    }
    const actions = entries.map(({ action }) => action)
    for (const wanted of WANTED_ACTIONS) assert.ok(actions.includes(wanted), `${wanted} is missing in ${actions}`)
    assert.equal(JSON.stringify(entries).includes('a secret plan'), false, 'it tells of messages, not what they say')
    assert.equal(JSON.stringify(entries).includes(one.opened.tokens.a), false)
    assert.deepEqual(await store.audit(2, 3), entries.slice(2, 5))
    assert.deepEqual(await store.audit(entries.length, 10), [])
  })

  prove('an entry says what it was done to, how it ended and how long it took', async (fleet) => {
    const { id, a, b } = await fleet.channel()
    const { id: message } = await a.store.send(a.session, 'k', { text: 'x' })
    const task = await fleet.task({ holder: b.session })
    await refused('stale_epoch', b.store.report(b.session, { ...done(task), epoch: task.epoch + 1 }))
    const entries = await fleet.store.audit(0, 100)
    assert.deepEqual(
      entries.map(({ actor, action, what, result }) => [actor, action, what, result]),
      [
        ['admin', 'conversation_opened', `conversation/${id}`, 'done'],
        [a.session, 'send', `message/${message}`, 'done'],
        ['admin', 'task_added', `task/${task.id}`, 'done'],
        [b.session, 'late_result_refused', `task/${task.id}`, 'stale_epoch'],
      ],
    )
    for (const { latencyMs, version } of entries) assert.ok(version === 2 && latencyMs !== null && latencyMs < 10_000)
    const { seq, hash, store } = await fleet.store.auditHead()
    assert.deepEqual([seq, hash], [entries.length, entries.at(-1)?.hash])
    assert.match(store, /^[0-9a-f]{16}$/)
  })

  prove('a host that could not wake its agent opens one incident, and closes it', async (fleet) => {
    const { b } = await fleet.channel()
    const tell = async (action: string, details: Record<string, unknown>): Promise<void> =>
      await b.store.record({ actor: b.session, action, details })
    await tell('wake_failed', { messages: 2, tried: 'tmux (a draft)' })
    await tell('wake_failed', { messages: 3, tried: 'tmux (a draft)' })
    const open = await fleet.store.incidents({ open: true })
    assert.equal(open.length, 1)
    assert.equal(open[0]?.kind, 'not_woken')
    assert.match(open[0]?.summary ?? '', /was not woken; its host tried: "tmux \(a draft\)"/)
    await tell('wake_read', {})
    assert.deepEqual(await fleet.store.incidents({ open: true }), [])
    await tell('wake_failed', { task: 't-1', tried: 'tmux (a draft)' })
    const [idle] = await fleet.store.incidents({ open: true })
    assert.match(idle?.summary ?? '', /idles with task "t-1" in hand and was not woken; its host tried: "tmux/)
    await tell('wake_read', { task: 't-1' })
    assert.deepEqual(await fleet.store.incidents({ open: true }), [])
  })

  prove('a program records what is no verb, without its secrets', async (fleet) => {
    const secret = ['f'.repeat(32), '0'.repeat(32)].join('')
    const details = { stage: 'code', said: `token ${secret}` }
    await fleet.store.record({
      actor: 'admin',
      action: 'command_refused',
      what: 'command/wipe',
      result: 'forbidden',
      details,
    })
    await refused('invalid', fleet.store.record({ actor: 'admin', action: 'Not one', details: {} }))
    const [{ actor, action, what, result, details: kept }] = (await fleet.store.audit(0, 10)) as [AuditEntry]
    assert.deepEqual([actor, action, what, result], ['admin', 'command_refused', 'command/wipe', 'forbidden'])
    assert.deepEqual(kept, { stage: 'code', said: 'token [redacted session-token]' })
    assert.equal((await fleet.store.auditHead()).seq, 1)
  })

  prove('a verdict that changes is an act', async (fleet) => {
    const judge = (verdict: Verdict) => fleet.store.judge([{ agent: 'w', verdict, since: 1, host: null }])
    await judge('alive')
    await judge('alive')
    await judge('silent')
    const entries = await fleet.store.audit(0, 10)
    assert.deepEqual(
      entries.map(({ action, details }) => [action, details.changes]),
      [
        ['verdicts_changed', [{ agent: 'w', from: null, to: 'alive' }]],
        ['verdicts_changed', [{ agent: 'w', from: 'alive', to: 'silent' }]],
      ],
    )
  })

  prove('a key of long ago is one message still', async (fleet) => {
    const { id, a, b } = await fleet.channel()
    await fleet.store.renewConversation(id, 100 * LIFETIME_MS)
    const first = await a.store.send(a.session, 'k', { text: 'x' })
    await a.store.send(a.session, 'another', { text: 'y' })
    await b.store.mark(b.session, idsOf(await unread(b)), 'acked')
    fleet.clock.pass(20 * LIFETIME_MS)
    await fleet.store.prune(2 * LIFETIME_MS)
    assert.equal((await a.store.send(a.session, 'k', { text: 'x' })).id, first.id)
    await refused('conflict', a.store.send(a.session, 'k', { text: 'z' }))
    assert.deepEqual(await unread(b), [])
  })

  prove('what was asked twice is one act', async (fleet) => {
    const { id, a, b } = await fleet.channel()
    const twice = async (act: () => Promise<unknown>): Promise<void> => {
      await act()
      const { length } = await fleet.store.audit(0, 1_000)
      await act()
      assert.equal((await fleet.store.audit(0, 1_000)).length, length, String(act))
    }
    const task = await fleet.task({ holder: b.session })
    const late = { ...done(task), epoch: task.epoch + 1 }
    await twice(() => a.store.send(a.session, 'k', { text: 'x' }))
    await twice(() => fleet.task({ id: task.id }))
    await twice(async () => b.store.mark(b.session, idsOf(await unread(b)), 'acked'))
    await twice(() => b.store.report(b.session, late).catch(() => undefined))
    await twice(() => b.store.report(b.session, done(task)))
    await twice(() => fleet.store.endConversation(id))
  })
}

/** What offline readers of a chain look for, whatever backend wrote it. */
const WANTED_ACTIONS = [
  'conversation_opened',
  'conversation_ended',
  'send',
  'task_added',
  'task_moved',
  'task_leased',
  'late_result_refused',
  'task_completed',
  'task_cancelled',
]

function proveUpkeep(prove: Prove): void {
  prove(
    'what ended long ago is forgotten; what is open, or unread, never',
    async (fleet) => {
      const { store, clock } = fleet
      const { a, b } = await fleet.channel()
      await fleet.task({ id: 'open', holder: b.session })
      const ended = await fleet.task({ id: 'ended', holder: b.session })
      await b.store.report(b.session, done(ended))
      await a.store.send(a.session, 'k', { text: 'unread' })
      const before = await unread(b)
      clock.pass(100_000)
      const fresh = await fleet.task({ id: 'fresh', holder: b.session })
      await b.store.report(b.session, done(fresh))
      assert.ok((await store.prune(50_000)) >= 1)
      assert.deepEqual((await store.tasks({})).map(({ id }) => id).sort(), ['fresh', 'open'])
      assert.deepEqual((await unread(b)).slice(0, before.length), before)
      assert.deepEqual(await store.evidence('ended'), [])
      assert.equal(await store.prune(50_000), 0)
    },
    'prune',
  )

  prove(
    'what an agent said of its place is forgotten long after its conversation has ended, and no sooner',
    async (fleet) => {
      const { store, clock } = fleet
      const [ended, live] = [await fleet.channel(), await fleet.channel()]
      const sick = { state: 'sick', why: 'no folder /x', until: null } as const
      for (const { b } of [ended, live]) await b.store.noteCondition(b.session, sick)
      await store.endConversation(ended.id)
      const known = async () => (await store.conditions()).map(({ session }) => session)
      await store.prune(50_000)
      assert.equal((await known()).length, 2)
      clock.pass(100_000)
      await store.prune(50_000)
      assert.deepEqual(await known(), [live.b.session])
    },
    'prune',
  )

  prove(
    'an incident is forgotten when it is closed, told and old',
    async ({ store, clock }) => {
      await store.openIncident(SILENT, ['log'])
      await store.closeIncident(SILENT.cause, [])
      await store.openIncident({ ...SILENT, cause: 'silent:w-2' }, [])
      clock.pass(100_000)
      await store.prune(50_000)
      assert.equal((await store.incidents({ open: false })).length, 2, 'somebody is still to be told')
      for (const alert of await store.claimAlerts(['log'], 1_000)) await store.settleAlert(alert, 'told')
      await store.prune(50_000)
      const left = await store.incidents({ open: false })
      assert.deepEqual(
        left.map(({ cause }) => cause),
        ['silent:w-2'],
      )
    },
    'prune',
    'openIncident',
  )

  prove('a store that is closed says so, and its mail ends', async (fleet) => {
    const { b } = await fleet.channel()
    const mail = singly(fleet.store.mail(b.session, 0, fleet.signal))[Symbol.asyncIterator]()
    const waiting = mail.next().catch((error: unknown) => error)
    await sleep(5)
    await fleet.store[Symbol.asyncDispose]()
    await fleet.store[Symbol.asyncDispose]()
    const end = await waiting
    assert.ok(end instanceof S2Error || (end as IteratorResult<unknown>).done === true)
    await refused('unavailable', fleet.store.tasks({}))
    await refused('unavailable', fleet.store.endConversation('conv_0000000000000000'))
  })
}
