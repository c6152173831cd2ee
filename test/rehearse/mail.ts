import { setTimeout as sleep } from 'node:timers/promises'
import type { Conversation } from '../../services/core/fleet/conversation.ts'
import { type SessionId, sessionId, sideOf } from '../../services/core/fleet/session-id.ts'
import { Inbox } from '../../services/core/spool/inbox.ts'
import { Outbox } from '../../services/core/spool/outbox.ts'

const ACTION = 'rehearsal'
const READ_EVERY_MS = 100

/** One direction of one conversation. */
interface Channel {
  readonly from: SessionId
  readonly to: SessionId
  readonly reader: string
  readonly outbox: Outbox
  sent: number
  readonly read: number[]
}

/**
 * Mail both ways in every conversation, all the while: put into the outboxes and taken from the inboxes as agents do it,
 * numbered, so that what is lost, comes twice or out of order is seen.
 */
export class MailLoad {
  readonly #channels: readonly Channel[]
  readonly #inboxes: readonly Inbox[]
  readonly #sendEveryMs: number
  readonly #readsReports: boolean
  readonly #sending = new AbortController()
  readonly #reading = new AbortController()
  #sender: Promise<void> = Promise.resolve()
  #reader: Promise<void> = Promise.resolve()

  /** Each end says something every so many milliseconds. `readsReports`: what workers report of tasks is read too. */
  constructor(
    conversations: readonly Conversation[],
    stateOf: (agent: string) => string,
    sendEveryMs = 400,
    readsReports = false,
  ) {
    this.#sendEveryMs = sendEveryMs
    this.#readsReports = readsReports
    this.#channels = conversations.flatMap(({ id, agents }) => [
      channel(sessionId(id, 'a'), sessionId(id, 'b'), agents.b, stateOf(agents.a)),
      channel(sessionId(id, 'b'), sessionId(id, 'a'), agents.a, stateOf(agents.b)),
    ])
    const states = new Set(conversations.flatMap(({ agents }) => [stateOf(agents.a), stateOf(agents.b)]))
    this.#inboxes = [...states].map((state) => new Inbox(state))
  }

  start(): void {
    this.#sender = this.#repeat(() => this.put(), this.#sendEveryMs, this.#sending.signal)
    this.startReading()
  }

  /** What came until then has waited unread. */
  startReading(): void {
    this.#reader = this.#repeat(() => this.#readAll(), READ_EVERY_MS, this.#reading.signal)
  }

  /** Each end says something. */
  async put(): Promise<void> {
    for (const each of this.#channels) {
      const text = JSON.stringify({ rehearsal: each.sent + 1 })
      await each.outbox.put({ kind: 'send', from: each.from, draft: { text, action: ACTION } })
      each.sent += 1
    }
  }

  /** Returns when what is being put is put. */
  async stopSending(): Promise<void> {
    this.#sending.abort()
    await this.#sender
  }

  async stop(): Promise<void> {
    this.#reading.abort()
    await Promise.all([this.stopSending(), this.#reader])
  }

  get sent(): number {
    return this.#channels.reduce((sum, { sent }) => sum + sent, 0)
  }

  get read(): number {
    return this.#channels.reduce((sum, { read }) => sum + read.length, 0)
  }

  /** What came to a session so far. */
  readBy(to: SessionId): number {
    return this.#channels.find((each) => each.to === to)?.read.length ?? 0
  }

  /** How much came from each session so far. */
  get readFrom(): ReadonlyMap<SessionId, number> {
    return new Map(this.#channels.map(({ from, read }) => [from, read.length]))
  }

  /** What came to an agent so far. */
  readAt(agent: string): number {
    return this.#channels.reduce((sum, { reader, read }) => sum + (reader === agent ? read.length : 0), 0)
  }

  /** Channels in which something is missing, came twice, or not in order. */
  faults(): string[] {
    return this.#channels.flatMap(({ from, to, sent, read }) => {
      const wanted = Array.from({ length: sent }, (_, index) => index + 1)
      if (read.length === sent && read.every((number, index) => number === wanted[index])) return []
      const missing = wanted.filter((number) => !read.includes(number))
      const twice = read.filter((number, index) => read.indexOf(number) !== index)
      return [
        `${from} → ${to}: ${sent} sent, ${read.length} read, missing [${missing}], twice [${twice}], read [${read}]`,
      ]
    })
  }

  async #readAll(): Promise<void> {
    for (const inbox of this.#inboxes) {
      for (const id of await inbox.list('new')) {
        const message = await inbox.read(id)
        const isOurs = message?.action === ACTION
        // Letters about tasks belong to `s2 work`, and reports on them to whoever gives tasks.
        if (message === null || !(isOurs || (this.#readsReports && sideOf(message.to) === 'a'))) continue
        const [acked] = await inbox.ack([id])
        if (acked === undefined || !isOurs) continue
        const number = (JSON.parse(message.text) as { rehearsal: number }).rehearsal
        this.#channels.find(({ from, to }) => from === message.from && to === message.to)?.read.push(number)
      }
    }
  }

  async #repeat(step: () => Promise<void>, everyMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await step()
      await sleep(everyMs, undefined, { signal }).catch(() => undefined)
    }
  }
}

function channel(from: SessionId, to: SessionId, reader: string, state: string): Channel {
  return { from, to, reader, outbox: new Outbox(state), sent: 0, read: [] }
}
