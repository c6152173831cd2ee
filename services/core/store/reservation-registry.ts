import type { AuditedAct } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import { cleanDraft, type MessageDraft } from '#fleet/message.ts'
import { parseGlob } from '#fleet/path-glob.ts'
import { PathMatcher } from '#fleet/path-matcher.ts'
import {
  cleanCommit,
  cleanRepository,
  cleanReservation,
  conflicts,
  demandTask,
  HELD_BY_ALL_MAX,
  HELD_MAX,
  isSameRepository,
  type KeptReservation,
  type NewReservation,
  type Reservation,
  type ReservationChoice,
  renewed,
  reservedByOthers,
  tooMany,
  type UncheckedCommit,
  uncheckedInWords,
  whyOver,
} from '#fleet/reservation.ts'
import { conversationOf, partnerOf, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ConversationTokens } from './conversation-tokens.ts'

/** Where reservations are kept: a table of a database, or memory. One row a holder, repository and glob. */
export interface ReservationRows {
  /** By the time since when they hold. */
  all(): KeptReservation[]
  put(reservation: KeptReservation): void
  remove(reservation: KeptReservation): void
}

export interface ReservationParts {
  readonly rows: ReservationRows
  readonly conversations: Pick<ConversationTokens, 'isAlive' | 'endOf' | 'demandLive'>
  readonly clock: Clock
  /** Null where there is no such task. */
  task(id: string): Task | null
  audit(act: AuditedAct): void
  /** Sends a message to a session whose conversation lives, from its partner; once a key. Answers whether it did. */
  tell(to: SessionId, key: string, draft: MessageDraft): boolean
}

/** The acts of one change that are audited with one entry. */
const ENTRY_MAX = 50

/**
 * Who has which files: the rules, whatever they are kept in. A reservation that is over counts for nothing from that moment on;
 * its row goes with the next change.
 */
export class ReservationRegistry {
  readonly #parts: ReservationParts

  constructor(parts: ReservationParts) {
    this.#parts = parts
  }

  reservations(seenBy?: SessionId): Reservation[] {
    const seen = seenBy === undefined ? this.#holding() : this.#ofFleet(seenBy)
    return seen.map((each) => this.#named(each))
  }

  reserveFiles(holder: SessionId, wanted: NewReservation): Reservation[] {
    const { conversations, clock } = this.#parts
    const clean = cleanReservation(wanted)
    conversations.demandLive(conversationOf(holder))
    demandTask(holder, clean, clean.task === null ? null : this.#parts.task(clean.task))
    this.sweep()
    const [own, others] = this.#ownAndOthers(holder)
    const taken = conflicts(clean, others)
    if (taken.length > 0)
      throw reservedByOthers(
        taken.map((each) => this.#named(each)),
        clock.wall(),
      )
    const next = clean.globs.map((glob) => this.#next(holder, glob, clean, own))
    this.#demandRoom(own, others, next)
    for (const each of next) this.#replace(own, each)
    this.#auditReserved(holder, clean, next)
    return next.map((each) => this.#named(each))
  }

  releaseFiles(
    holder: SessionId,
    { repository, globs }: ReservationChoice,
    by: SessionId | 'admin' = 'admin',
  ): Reservation[] {
    const names = repository === null ? null : cleanRepository(repository)
    const meant = globs?.map((glob) => parseGlob(glob).text)
    const [own] = this.#ownAndOthers(holder)
    const released = own.filter(
      (each) => (names === null || isSameRepository(names, each.repository)) && (meant?.includes(each.glob) ?? true),
    )
    const named = released.map((each) => this.#named(each))
    for (const each of released) this.#parts.rows.remove(each)
    if (released.length > 0) this.#auditReleased(holder, released, by)
    if (released.length > 0 && this.#agent(holder) !== (by === 'admin' ? null : this.#agent(by)))
      this.#tellReleased(holder, released)
    return named
  }

  noteUncheckedCommit(by: SessionId, commit: UncheckedCommit): Reservation[] {
    const clean = cleanCommit(commit)
    this.#parts.conversations.demandLive(conversationOf(by))
    const [, others] = this.#ownAndOthers(by)
    const here = others.filter(
      ({ repository, mode }) => mode === 'exclusive' && isSameRepository(clean.repository, repository),
    )
    const matcher = new PathMatcher(here.map(({ glob }) => parseGlob(glob)))
    const touching = new Map(clean.paths.map((path) => [path, matcher.meaning(path)]))
    const paths = clean.paths.filter((path) => touching.get(path)?.length !== 0)
    const touched = new Set([...touching.values()].flat())
    const found = here.filter((_, index) => touched.has(index))
    if (found.length > 0) this.#tellUnchecked(by, { ...clean, paths }, found)
    return found.map((each) => this.#named(each))
  }

  /** Removes those that are over; answers how many. */
  sweep(): number {
    const over = this.#parts.rows.all().flatMap((each) => {
      const why = this.#whyOver(each)
      return why === null ? [] : [{ each, why }]
    })
    for (const { each } of over) this.#parts.rows.remove(each)
    for (let at = 0; at < over.length; at += ENTRY_MAX) this.#auditEnded(over.slice(at, at + ENTRY_MAX))
    return over.length
  }

  #holding(): KeptReservation[] {
    return this.#parts.rows.all().filter((each) => this.#whyOver(each) === null)
  }

  #whyOver(each: KeptReservation): ReturnType<typeof whyOver> {
    return whyOver(each, {
      now: this.#parts.clock.wall(),
      isHolderLive: this.#parts.conversations.isAlive(conversationOf(each.holder)),
      task: each.task === null ? null : this.#parts.task(each.task),
    })
  }

  /** Those of the holder's agent, whichever session it speaks by, and those of all others. */
  #ownAndOthers(holder: SessionId): [own: KeptReservation[], others: KeptReservation[]] {
    const agent = this.#agent(holder)
    const { own = [], others = [] } = Object.groupBy(this.#ofFleet(holder), (each) =>
      this.#agent(each.holder) === agent ? 'own' : 'others',
    )
    return [own, others]
  }

  /** Two fleets that share a store never hear of each other: a fleet is what one orchestrator's agent leads. */
  #ofFleet(session: SessionId): KeptReservation[] {
    const lead = this.#lead(session)
    return this.#holding().filter(({ holder }) => this.#lead(holder) === lead)
  }

  #lead(session: SessionId): string {
    return this.#agent(sessionId(conversationOf(session), 'a'))
  }

  #agent(session: SessionId): string {
    return this.#parts.conversations.endOf(session)?.agent ?? session
  }

  #named({ holder, ...rest }: KeptReservation): Reservation {
    return { agent: this.#agent(holder), ...rest }
  }

  #next(holder: SessionId, glob: string, wanted: NewReservation, own: readonly KeptReservation[]): KeptReservation {
    const now = Math.floor(this.#parts.clock.wall())
    const { repository, mode, task, epoch, note, forMs } = wanted
    const next = { holder, repository, glob, mode, task, epoch, note, since: now, until: now + Math.round(forMs) }
    return renewed(
      own.find((each) => isSame(each, next)),
      next,
    )
  }

  #demandRoom(
    own: readonly KeptReservation[],
    others: readonly KeptReservation[],
    next: readonly KeptReservation[],
  ): void {
    const kept = own.filter((each) => !next.some((one) => isSame(each, one)))
    if (kept.length + next.length > HELD_MAX) throw tooMany(`${HELD_MAX} globs are reserved by one agent`)
    if (others.length + kept.length + next.length > HELD_BY_ALL_MAX)
      throw tooMany(`${HELD_BY_ALL_MAX} globs are reserved in the whole fleet`)
  }

  #replace(own: readonly KeptReservation[], next: KeptReservation): void {
    for (const each of own) if (isSame(each, next)) this.#parts.rows.remove(each)
    this.#parts.rows.put(next)
  }

  #auditReserved(
    holder: SessionId,
    { repository, globs, mode, task, epoch }: NewReservation,
    next: readonly KeptReservation[],
  ): void {
    const until = Math.max(...next.map((each) => each.until))
    const details = { repository: repository[0], globs, mode, until, ...(task === null ? {} : { task, epoch }) }
    this.#parts.audit({ actor: holder, action: 'files_reserved', details })
  }

  #auditReleased(holder: SessionId, released: readonly KeptReservation[], by: SessionId | 'admin'): void {
    const details = { session: holder, globs: released.map(({ glob }) => glob) }
    this.#parts.audit({ actor: by, action: 'files_released', details })
  }

  #auditEnded(over: readonly { readonly each: KeptReservation; readonly why: string }[]): void {
    const ended = over.map(({ each, why }) => ({ holder: each.holder, glob: each.glob, why }))
    this.#parts.audit({ actor: 'admin', action: 'reservations_ended', details: { ended } })
  }

  /** Whoever has files that another takes away learns of it. */
  #tellReleased(holder: SessionId, released: readonly KeptReservation[]): void {
    const globs = released.slice(0, 5).map(({ glob }) => JSON.stringify(glob))
    const text = `Files that you had reserved were released by another: ${globs.join(', ')}${released.length > 5 ? ' and more' : ''}. Reserve them again before you go on with them.`
    this.#tell(holder, `released-${released[0]?.since}-${this.#parts.clock.wall()}`, {
      text,
      action: 'files_released',
    })
  }

  #tell(to: SessionId, key: string, draft: MessageDraft): boolean {
    return this.#parts.tell(to, key, cleanDraft(draft))
  }

  #tellUnchecked(by: SessionId, commit: UncheckedCommit, found: readonly KeptReservation[]): void {
    const named = found.map((each) => this.#named(each))
    const draft = { text: uncheckedInWords(this.#agent(by), commit, named), action: 'unchecked_commit' }
    const holders = [...new Set(found.map(({ holder }) => holder))]
    const lead = sideOf(by) === 'b' ? [partnerOf(by)] : []
    const told = [...new Set([...holders, ...lead])].filter((to) =>
      this.#tell(to, `unchecked-commit-${commit.commit}`, draft),
    )
    if (told.length === 0) return
    const { repository, paths } = commit
    const details = {
      commit: commit.commit,
      repository: repository[0],
      paths: paths.slice(0, ENTRY_MAX),
      holders,
      told,
    }
    this.#parts.audit({ actor: by, action: 'unchecked_commit', details })
  }
}

/** What one agent asks for twice. */
function isSame(one: KeptReservation, other: KeptReservation): boolean {
  return one.glob === other.glob && isSameRepository(one.repository, other.repository)
}

/** The task, or null where a table says `not_found`. */
export function taskOrNull(find: (id: string) => Task): (id: string) => Task | null {
  return (id) => {
    try {
      return find(id)
    } catch (error) {
      if (error instanceof S2Error && error.code === 'not_found') return null
      throw error
    }
  }
}
