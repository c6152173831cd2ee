import type { KeptReservation, ReservationMode } from '#fleet/reservation.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { ReservationRows } from '../../reservation-registry.ts'
import type { SqliteConnection } from '../file/connection.ts'

interface ReservationRow {
  readonly holder: SessionId
  readonly repository: string
  readonly glob: string
  readonly mode: ReservationMode
  readonly task: string | null
  readonly epoch: number | null
  readonly note: string | null
  readonly since: number
  readonly until: number
}

const SELECT = `SELECT holder, repository, glob, mode, task, epoch, note, since, until FROM s2_reservations
  ORDER BY since, holder, glob`

/** The reservations of files, in a table. */
export class ReservationTable implements ReservationRows {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  all(): KeptReservation[] {
    return this.#connection
      .all<ReservationRow>(SELECT)
      .map((row) => ({ ...row, repository: JSON.parse(row.repository) as string[] }))
  }

  put({ holder, repository, glob, mode, task, epoch, note, since, until }: KeptReservation): void {
    this.#connection.run(
      `INSERT OR REPLACE INTO s2_reservations (holder, repository, glob, mode, task, epoch, note, since, until)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      holder,
      JSON.stringify(repository),
      glob,
      mode,
      task,
      epoch,
      note,
      since,
      until,
    )
  }

  remove({ holder, repository, glob }: KeptReservation): void {
    this.#connection.run(
      'DELETE FROM s2_reservations WHERE holder = ? AND repository = ? AND glob = ?',
      holder,
      JSON.stringify(repository),
      glob,
    )
  }
}
