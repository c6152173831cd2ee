import type { Company } from '../../rehearse/company.ts'
import type { MailLoad } from '../../rehearse/mail.ts'
import type { Telling } from '../../rehearse/telling.ts'
import type { Fleet } from './fleet.ts'
import type { Table } from './table.ts'

/** What everybody in the story knows. */
export interface Cast extends Company {
  readonly fleet: Fleet
  readonly mail: MailLoad
  readonly telling: Telling
  readonly table: Table
}

/** Whom what befalls. */
export const PARTITIONED = 1
export const KILLED = 2
export const SUSPENDED = 3
export const DEAF = 4
export const MUTE = 5
export const LOSSY = 6
export const HINTED = 8
export const REACHABLE = [4, 5, 6, 7, 8]

/** What we promise, seconds. */
export const OURS = { poll: 65, hint: 2, spread: 0.5, detect: 65, reassign: 1 } as const
