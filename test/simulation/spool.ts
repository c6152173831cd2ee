import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { FoundCredentials } from '#spool/credentials.ts'
import type { InboxFolder, Placed } from '#spool/inbox.ts'
import type { Entry, NewOutboxItem, OutboxItem, OutboxOutcome } from '#spool/outbox.ts'
import type { CredentialsPort, InboxPort, OutboxPort } from '../../services/keepalive/spool-interfaces.ts'
import type { Life } from './clock.ts'
import type { Surroundings } from './network.ts'

type Folder = 'inbox' | 'outbox' | 'credentials'

/** A host's folders: they outlive every program, and each operation on them is slow, or refused, now and then. */
export class Spool {
  readonly #around: Surroundings
  readonly #folders = new Map<number, { message: StoredMessage; folder: InboxFolder }>()
  readonly #acked = new Set<number>()
  readonly #items = new Map<string, OutboxItem>()
  readonly #outcomes = new Map<string, OutboxOutcome>()
  readonly #credentials = new Map<SessionId, Credential>()
  /** When conversations end that were renewed. */
  readonly #renewals = new Map<SessionId, number>()
  readonly #ears = new Set<{ folder: Folder; life: Life; heard: () => void }>()
  #found: readonly Credential[] | null = null
  #names = 0
  /** Told of every message that comes in, and of every one that is acked. */
  onNew: (message: StoredMessage) => void = () => undefined
  onAcked: (message: StoredMessage) => void = () => undefined

  constructor(around: Surroundings) {
    this.#around = around
  }

  /** Nothing lies here that somebody should still do something with. */
  get isEmpty(): boolean {
    return this.#items.size === 0 && this.#folders.size === 0
  }

  get left(): string {
    const folders = [...this.#folders].map(([id, { folder }]) => `${folder}/${id}`)
    return [...folders, ...[...this.#items.keys()].map((name) => `outbox/${name}`)].join(' ')
  }

  /** Who publishes sees to it that a serial never goes back, whatever overtakes what on the way. */
  publish(credential: Credential): void {
    if (credential.createdAt < (this.#credentials.get(credential.session)?.createdAt ?? 0)) return
    this.#credentials.set(credential.session, credential)
    this.#found = null
    this.#hint('credentials')
  }

  credentials(): readonly Credential[] {
    this.#found ??= Array.from(this.#credentials.values(), (credential) => {
      const { session, expiresAt } = credential
      return Object.freeze({ ...credential, expiresAt: Math.max(expiresAt, this.#renewals.get(session) ?? 0) })
    })
    return this.#found
  }

  /** The credentials as those see them who put them there. */
  credentialFolder(life: Life): {
    read(): Promise<readonly Credential[]>
    publish(credential: Credential): Promise<void>
    remove(credential: Pick<Credential, 'session'>): Promise<void>
  } {
    return {
      read: () => this.#disk(life, () => this.credentials()),
      publish: (credential) => this.#disk(life, () => this.publish(credential)),
      remove: ({ session }) =>
        this.#disk(life, () => {
          this.#credentials.delete(session)
          this.#renewals.delete(session)
          this.#found = null
          this.#hint('credentials')
        }),
    }
  }

  /** What one program hears of changes; some hints are lost. */
  hear(folder: Folder, life: Life, heard: () => void): Disposable {
    const ear = { folder, life, heard }
    this.#ears.add(ear)
    return { [Symbol.dispose]: () => this.#ears.delete(ear) }
  }

  inboxPort(life: Life): InboxPort {
    return {
      putAll: async (messages) => {
        const placed: Placed[] = []
        for (const message of messages) placed.push(await this.#disk(life, () => this.#place(message)))
        return placed
      },
      list: (folder) => this.#disk(life, () => this.#list(folder)),
      inspect: (id) => this.#disk(life, () => this.#folders.get(id)?.message ?? null),
      forget: (ids) =>
        this.#disk(life, () => {
          for (const id of ids) if (this.#folders.get(id)?.folder === 'done') this.#forget(id)
        }),
      recover: async () => undefined,
      tidy: async () => undefined,
    }
  }

  /** What an agent does with its inbox. */
  reading(life: Life): {
    list(folder: InboxFolder): Promise<number[]>
    read(id: number): Promise<StoredMessage | null>
    take(id: number): Promise<StoredMessage | null>
    ack(ids: readonly number[]): Promise<number[]>
  } {
    return {
      list: (folder) => this.#disk(life, () => this.#list(folder)),
      read: (id) => this.#disk(life, () => this.#folders.get(id)?.message ?? null),
      take: (id) => this.#disk(life, () => this.#move(id, ['new', 'cur'], 'cur')),
      ack: (ids) =>
        this.#disk(life, () => {
          const acked = ids.flatMap((id) => this.#move(id, ['new', 'cur'], 'done') ?? [])
          for (const message of acked) this.onAcked(message)
          this.#hint('inbox')
          return acked.map(({ id }) => id)
        }),
    }
  }

  outboxPort(life: Life): OutboxPort {
    return {
      names: () => this.#disk(life, () => [...this.#items.keys()]),
      read: (name) => this.#disk(life, () => this.#items.get(name) ?? null),
      done: (name) =>
        this.#disk(life, () => {
          if (this.#items.delete(name)) this.#outcomes.set(name, 'carried')
        }),
      refuse: (name, problem) =>
        this.#disk(life, () => {
          if (this.#items.delete(name)) this.#outcomes.set(name, problem)
        }),
      tidy: async () => undefined,
    }
  }

  /** What an agent does with its outbox. */
  writing(life: Life): {
    put(item: NewOutboxItem): Promise<string>
    outcome(name: string): Promise<OutboxOutcome>
    names(): Promise<string[]>
    list(): Promise<Entry[]>
  } {
    return {
      put: (item) => this.#disk(life, () => this.#put(item)),
      outcome: (name) =>
        this.#disk(life, () => (this.#items.has(name) ? 'waiting' : (this.#outcomes.get(name) ?? 'unknown'))),
      names: () => this.#disk(life, () => [...this.#items.keys()]),
      list: () => this.#disk(life, () => [...this.#items].map(([name, item]) => ({ name, item }))),
    }
  }

  credentialsPort(life: Life): CredentialsPort {
    return {
      read: () =>
        this.#disk(life, (): FoundCredentials => {
          return { credentials: this.credentials(), faults: [], doubtful: [], exists: true }
        }),
      noteRenewal: (session, expiresAt) =>
        this.#disk(life, () => {
          this.#renewals.set(session, expiresAt)
          this.#found = null
        }),
    }
  }

  /** An operation happens at one moment; a program may die, or be stopped, before it or after. */
  async #disk<T>(life: Life, act: () => T): Promise<T> {
    const { dice, tally, weather } = this.#around
    if (dice.chance(weather.diskRefuses)) {
      tally.fired('disk refuses')
      throw new S2Error('unavailable', 'no space left on device')
    }
    if (!dice.chance(weather.diskSlow)) return act()
    tally.fired('disk slow')
    if (dice.chance(0.5)) await life.pause(dice.wait(30))
    const answer = act()
    await life.pause(dice.wait(30))
    return answer
  }

  #place(message: StoredMessage): Placed {
    const { id } = message
    if (this.#acked.has(id)) return { id, as: 'acked' }
    if (this.#folders.has(id)) return { id, as: 'known' }
    this.#folders.set(id, { message, folder: 'new' })
    this.onNew(message)
    this.#hint('inbox')
    return { id, as: 'new' }
  }

  #put(item: NewOutboxItem): string {
    this.#names += 1
    const name = `item-${this.#names}`
    this.#items.set(name, item.kind === 'send' || item.kind === 'post' ? { ...item, key: item.key ?? name } : item)
    this.#hint('outbox')
    return name
  }

  #list(folder: InboxFolder): number[] {
    const ids: number[] = []
    for (const [id, place] of this.#folders) if (place.folder === folder) ids.push(id)
    return ids.sort((one, other) => one - other)
  }

  #move(id: number, from: readonly InboxFolder[], to: InboxFolder): StoredMessage | null {
    const place = this.#folders.get(id)
    if (place === undefined || !from.includes(place.folder)) return null
    place.folder = to
    return place.message
  }

  #forget(id: number): void {
    this.#folders.delete(id)
    this.#acked.add(id)
  }

  #hint(folder: Folder): void {
    const { dice, tally, weather, timeline } = this.#around
    for (const ear of this.#ears) {
      if (ear.folder !== folder) continue
      if (dice.chance(weather.hintLost)) tally.fired('hint lost')
      else timeline.after(1, () => this.#ears.has(ear) && ear.life.deliver(ear.heard))
    }
  }
}
