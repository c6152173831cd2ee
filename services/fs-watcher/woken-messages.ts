import type { SessionId } from '#fleet/session-id.ts'
import { publish } from '#spool/atomic-files.ts'
import { readPlainFile } from '#spool/plain-file.ts'
import type { UnreadMail } from './mail-source.ts'

/** Messages remembered one by one in a session; of more that stay unread, the older ones count as woken for. */
const NAMED_MAX = 2_000
/** Bytes of the largest record anybody reads: the unread messages of some thousand sessions. */
const RECORD_FILE_MAX = 256 * 1024 * 1024

interface SessionRecord {
  /** All messages up to this id were woken for. */
  floor: number
  /** Later messages that were woken for and are still unread: fingerprint by id. */
  named: Map<number, string>
}

/**
 * The messages that an agent was woken for, written to disk before the wake runs: a crash may cost a wake, but none ever runs
 * twice. Messages that have been read since need no record, so only unread ones are kept.
 */
export class WokenMessages {
  readonly #path: string
  readonly #sessions = new Map<SessionId, SessionRecord>()
  /** The newest id that was seen in the database: where reading goes on after a restart. */
  position = 0
  #saving: Promise<void> = Promise.resolve()

  private constructor(path: string) {
    this.#path = path
  }

  /** Reads the record. A file that makes no sense counts as empty, and is reported to `onFault`. */
  static async open(path: string, onFault: (why: string) => void): Promise<WokenMessages> {
    const woken = new WokenMessages(path)
    try {
      const file = await readPlainFile(path, RECORD_FILE_MAX, 'own')
      if (file !== null) woken.#take(JSON.parse(file.text))
    } catch (error) {
      onFault(
        `${path} cannot be read, so agents may be woken once more for unread messages: ${(error as Error).message}`,
      )
      woken.#sessions.clear()
    }
    return woken
  }

  has({ to, id, fingerprint }: UnreadMail): boolean {
    const past = this.#sessions.get(to)
    return past !== undefined && (id <= past.floor || past.named.get(id) === fingerprint)
  }

  /** Messages of this session up to this id need not be looked up. */
  floorOf(session: SessionId): number {
    return this.#sessions.get(session)?.floor ?? 0
  }

  /** Records durably that all these messages were woken for, in place of the record of the sessions that are covered. */
  async keep(unread: readonly UnreadMail[], covers: (session: SessionId) => boolean): Promise<void> {
    const before = [...this.#sessions].filter(([session]) => covers(session))
    const floors = new Map(before.map(([session, { floor }]) => [session, floor]))
    for (const [session] of before) this.#sessions.delete(session)
    for (const { to, id, fingerprint } of unread) {
      const past = this.#sessions.get(to) ?? { floor: floors.get(to) ?? 0, named: new Map() }
      this.#sessions.set(to, past)
      past.named.set(id, fingerprint)
    }
    for (const past of this.#sessions.values()) shorten(past)
    try {
      await this.save()
    } catch (error) {
      this.#release(unread)
      for (const [session, past] of before) this.#sessions.set(session, past)
      throw error
    }
  }

  /** Takes back the record of these messages: their wake could not even begin. */
  async release(mail: readonly UnreadMail[]): Promise<void> {
    this.#release(mail)
    await this.save()
  }

  /** The database is another one: its ids say nothing of who was woken for them. */
  forgetFloors(): void {
    for (const past of this.#sessions.values()) past.floor = 0
    this.position = 0
  }

  /** Writes one after the other, so that an older record never replaces a newer one. */
  async save(): Promise<void> {
    const saved = this.#saving.then(() => publish(this.#path, `${this.#text()}\n`))
    this.#saving = saved.catch(() => undefined)
    await saved
  }

  #release(mail: readonly UnreadMail[]): void {
    for (const { to, id } of mail) this.#sessions.get(to)?.named.delete(id)
  }

  #text(): string {
    const sessions = [...this.#sessions].map(([session, { floor, named }]) => [session, { floor, named: [...named] }])
    return JSON.stringify({ position: this.position, sessions: Object.fromEntries(sessions) })
  }

  #take(kept: { position: number; sessions: Record<SessionId, { floor: number; named: [number, string][] }> }): void {
    if (!Number.isSafeInteger(kept.position)) throw new Error('it has no position')
    for (const [session, { floor, named }] of Object.entries(kept.sessions)) {
      if (!Number.isSafeInteger(floor)) throw new Error('it has a session without a floor')
      this.#sessions.set(session as SessionId, { floor, named: new Map(named) })
    }
    this.position = kept.position
  }
}

function shorten(past: SessionRecord): void {
  if (past.named.size <= NAMED_MAX) return
  const ids = [...past.named.keys()].sort((one, other) => one - other)
  for (const id of ids.slice(0, ids.length - NAMED_MAX)) {
    past.named.delete(id)
    past.floor = Math.max(past.floor, id)
  }
}
