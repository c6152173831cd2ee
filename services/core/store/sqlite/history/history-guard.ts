import { S2Error } from '#fleet/errors.ts'
import type { StoreParts } from '../../store.ts'
import { GAP } from '../backup/carry-over-counters.ts'
import { isBusy } from '../file/sqlite-errors.ts'
import { storeIdOf } from '../tables/audit-chain.ts'
import type { Tables } from '../tables/tables.ts'
import { goOnFrom, type WentOn } from './go-on.ts'
import {
  type HistoryMark,
  type KeptMark,
  lastIdOf,
  lookedUpTo,
  markOf,
  ORIGIN,
  type StepBack,
  stepBackFrom,
} from './history-mark.ts'

/**
 * Sees to it that a database goes on from where this process last saw it. Others may put an earlier state of it back by way of
 * SQLite (`.restore`, Python's `Connection.backup()`), and no file changes its name by that: then nothing more is written, and
 * the program is told to end, for all that it remembers is of another time. Where only the ids of messages began
 * anew, they are raised beyond those that were given, in the transaction that finds it out.
 */
export class HistoryGuard {
  readonly #path: string
  readonly #tables: Tables
  readonly #parts: StoreParts
  /** As of the last commit of this process; null before its first. */
  #seen: HistoryMark | null = null
  #pending: HistoryMark | null = null
  #wentOn: WentOn | null = null
  /** What the connection said of commits of others when all was well. */
  #version = -1
  #refusal: S2Error | null = null

  constructor(path: string, tables: Tables, parts: StoreParts) {
    this.#path = path
    this.#tables = tables
    this.#parts = parts
  }

  /** How far the database had come when this process last saw it. */
  get seen(): HistoryMark | null {
    return this.#seen
  }

  get store(): string {
    return storeIdOf(this.#tables.connection) ?? 'none'
  }

  /** Why the database can be written to no more; null while it can. */
  get refusal(): S2Error | null {
    return this.#refusal
  }

  /** Compares what an earlier process saw, where that is known, in the first transaction of this one. */
  begin(kept: KeptMark | null): void {
    const { connection } = this.#tables
    const mark = kept?.store === this.store ? kept : ORIGIN // another database in its place has a history of its own
    const message = Math.max(mark.message, lookedUpTo(connection))
    const stepBack = stepBackFrom(connection, { ...mark, message })
    if (stepBack !== null) this.#goOn({ ...mark, message }, stepBack)
    this.#seen = markOf(connection)
  }

  /** A transaction has the lock. Throws where the database went back. */
  demand(): void {
    this.#pending = null
    this.#wentOn = null
    if (this.#refusal !== null) throw this.#refusal
    const stepBack = this.#compare()
    if (stepBack === null || this.#seen === null) return
    if (stepBack === 'chain') throw this.#refuse(this.#seen)
    this.#goOn(this.#seen, stepBack)
  }

  /** The transaction is about to be committed, with all that it writes. */
  note(): void {
    this.#pending = markOf(this.#tables.connection)
  }

  committed(): void {
    this.#seen = this.#pending ?? this.#seen
    if (this.#wentOn !== null) this.#tell(this.#wentOn)
    this.#wentOn = null
  }

  /** Looks without a transaction, though nobody writes. Answers `ids` where the next transaction will raise them. */
  look(): S2Error | 'ids' | null {
    if (this.#refusal !== null) return this.#refusal
    try {
      const stepBack = this.#compare()
      return stepBack === 'chain' && this.#seen !== null ? this.#refuse(this.#seen) : stepBack === 'ids' ? 'ids' : null
    } catch (error) {
      if (isBusy(error)) return null
      throw error
    }
  }

  /** Whether the database went back, and another program has seen to it already. */
  hasGoneOnWithoutUs(): boolean {
    if (this.look() === null || this.#seen === null) return false
    return lastIdOf(this.#tables.connection) - this.#seen.message > GAP / 2
  }

  #compare(): StepBack | null {
    const { connection } = this.#tables
    const version = connection.dataVersion()
    if (this.#seen === null || version === this.#version) return null
    const stepBack = stepBackFrom(connection, this.#seen)
    if (stepBack === null) this.#version = version
    return stepBack
  }

  #goOn(mark: HistoryMark, stepBack: StepBack): void {
    this.#wentOn = goOnFrom(this.#tables, mark, stepBack, Math.floor(this.#parts.clock.wall()))
  }

  #tell({ stepBack, ...what }: WentOn): void {
    const text =
      stepBack === 'chain' ? 'an earlier state of the database was put back' : 'the ids of messages began anew'
    this.#parts.log.warn(`${text}: messages get ids beyond those that were given`, { path: this.#path, ...what })
  }

  #refuse({ message, entry }: HistoryMark): S2Error {
    const what = `an earlier state of ${this.#path} was put back while S2 had it open`
    const lost = `its audit chain is not the one whose entry ${entry} S2 had seen, and messages had come to ${message}`
    const error = new S2Error('unavailable', `${what}: ${lost}; what was sent since that state is not in it`, {
      next: 'S2 is to be started again: it then gives new ids, so that no message is taken for another; next time stop all programs and use s2 restore',
    })
    this.#refusal = error
    this.#parts.log.error('store broken', { error, next: error.next })
    this.#parts.onBroken?.(error)
    return error
  }
}
