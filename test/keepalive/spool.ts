/** The spool in memory, for simulated hosts: what is written stays when its host dies, as on a disk. */
import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { messageDigest } from '#spool/acked-ledger.ts'
import type { FoundCredentials } from '#spool/credentials.ts'
import { bridgeId, type InboxFolder, LANE, type Placed } from '#spool/inbox.ts'
import type { NewOutboxItem, OutboxItem, OutboxProblem } from '#spool/outbox.ts'
import type { CredentialsPort, InboxPort, OutboxPort } from '../../services/keepalive/spool-interfaces.ts'

export class MemoryInbox implements InboxPort {
  readonly folders: Record<InboxFolder, Map<number, StoredMessage>> = {
    new: new Map(),
    cur: new Map(),
    dead: new Map(),
    done: new Map(),
  }
  readonly #acked = new Set<number>()
  isFull = false
  /** Whether the disk lets go of messages that were acked. */
  forgets = true

  async putAll(messages: readonly StoredMessage[]): Promise<readonly Placed[]> {
    if (this.isFull) throw new S2Error('unavailable', 'keeping messages in the inbox failed: the disk is full')
    return messages.map((message) => this.#put(message))
  }

  async list(folder: InboxFolder): Promise<number[]> {
    return [...this.folders[folder].keys()].sort((x, y) => x - y)
  }

  async inspect(id: number): Promise<StoredMessage | null> {
    return this.#find(id) ?? null
  }

  async forget(ids: readonly number[]): Promise<void> {
    if (!this.forgets) throw new S2Error('unavailable', 'noting what was acked failed: the disk is full')
    for (const id of ids) {
      const message = this.folders.done.get(id)
      if (message !== undefined) this.#acked.add(messageDigest({ ...message, id: bridgeId(id) }))
      this.folders.done.delete(id)
    }
  }

  async recover(): Promise<void> {}

  async tidy(): Promise<void> {}

  async take(limit: number): Promise<StoredMessage[]> {
    return (await this.list('new')).slice(0, limit).map((id) => this.#move(id, 'new', 'cur'))
  }

  async ack(ids: readonly number[]): Promise<number[]> {
    const acked = ids.filter((id) => this.folders.cur.has(id) || this.folders.new.has(id))
    for (const id of acked) this.#move(id, this.folders.cur.has(id) ? 'cur' : 'new', 'done')
    return acked
  }

  #put(message: StoredMessage): Placed {
    const digest = messageDigest(message)
    let free: number | undefined
    for (let id = message.id; id < message.id + 4 * LANE; id += LANE) {
      const there = this.#find(id)
      if (there !== undefined && messageDigest({ ...there, id: bridgeId(id) }) === digest) return { id, as: 'known' }
      if (there === undefined) free ??= id
    }
    if (this.#acked.has(digest)) return { id: message.id, as: 'acked' }
    if (free === undefined) throw new Error('no lane is free')
    this.folders.new.set(free, { ...message, id: free })
    return { id: free, as: 'new' }
  }

  #find(id: number): StoredMessage | undefined {
    return this.folders.new.get(id) ?? this.folders.cur.get(id) ?? this.folders.done.get(id)
  }

  #move(id: number, from: InboxFolder, to: InboxFolder): StoredMessage {
    const message = this.folders[from].get(id)
    if (message === undefined) throw new Error(`${id} is not on ${from}`)
    this.folders[from].delete(id)
    this.folders[to].set(id, message)
    return message
  }
}

export class MemoryOutbox implements OutboxPort {
  readonly waiting = new Map<string, OutboxItem>()
  readonly refused = new Map<string, OutboxProblem>()
  #count = 0

  async put(item: NewOutboxItem): Promise<string> {
    this.#count += 1
    const name = String(this.#count).padStart(16, '0')
    this.waiting.set(name, item.kind === 'send' || item.kind === 'post' ? { ...item, key: item.key ?? name } : item)
    return name
  }

  async names(): Promise<string[]> {
    return [...this.waiting.keys()].sort()
  }

  async read(name: string): Promise<OutboxItem | null> {
    return this.waiting.get(name) ?? null
  }

  async done(name: string): Promise<void> {
    this.waiting.delete(name)
  }

  async refuse(name: string, problem: OutboxProblem): Promise<void> {
    if (this.waiting.delete(name)) this.refused.set(name, problem)
  }

  async tidy(): Promise<void> {}
}

export class MemoryCredentials implements CredentialsPort {
  readonly files = new Map<SessionId, Credential | 'malformed'>()
  readonly renewals = new Map<SessionId, number>()
  exists = true

  async read(): Promise<FoundCredentials> {
    if (!this.exists) return { credentials: [], faults: [], doubtful: [], exists: false }
    const credentials: Credential[] = []
    const doubtful: SessionId[] = []
    for (const [session, file] of this.files) {
      if (file === 'malformed') doubtful.push(session)
      else credentials.push({ ...file, expiresAt: Math.max(file.expiresAt, this.renewals.get(session) ?? 0) })
    }
    return { credentials, faults: doubtful.map((session) => `${session} is malformed`), doubtful, exists: true }
  }

  async noteRenewal(session: SessionId, expiresAt: number): Promise<void> {
    this.renewals.set(session, expiresAt)
  }
}
