/** A mutant that no test kills, and why that is no gap. It is named by what stands there, since lines move. */
export interface Survivor {
  /** Below services/, without its ending. */
  readonly file: string
  readonly inside: string
  readonly from: string
  readonly to: string
  readonly why: string
}

/** Rights of a minute that end a millisecond early or late: no clock here is as exact. */
const ONE_MS = 'a millisecond more or less of a lease of seconds is nothing that a holder or an observer could see'

const SIGN_ALONE = 'of what a comparison answers the sign alone counts'
const NO_TEXT = 'what is no text is no signature either: the types alone want to hear it first'

export const SURVIVORS: readonly Survivor[] = [
  {
    file: 'worker/lease-renewer',
    inside: '(top)',
    from: '0',
    to: '1',
    why: 'the pause is read after a failure alone, and each failure sets it',
  },
  { file: 'worker/lease-renewer', inside: 'status', from: '0', to: '1', why: ONE_MS },
  { file: 'worker/lease-renewer', inside: 'waitMs', from: '0', to: '1', why: ONE_MS },
  { file: 'worker/lease-renewer', inside: 'askOnce', from: '0', to: '1', why: ONE_MS },
  {
    file: 'worker/lease-renewer',
    inside: '(top)',
    from: 'await this.#done',
    to: ';',
    why: 'the signal ends the loop in the same turn; only the end of that turn is not waited for',
  },
  {
    file: 'core/fleet/lease-observer',
    inside: '(top)',
    from: '0',
    to: '1',
    why: 'nothing is asked before a first look sets it',
  },
  {
    file: 'core/fleet/task-ownership',
    inside: 'compareUrgency',
    from: 'x.id < y.id',
    to: 'x.id <= y.id',
    why: 'ids differ',
  },
  { file: 'core/fleet/task-ownership', inside: 'compareUrgency', from: '1', to: '2', why: SIGN_ALONE },
  {
    file: 'core/fleet/task-ownership',
    inside: 'interrupt',
    from: "task.holder ?? 'admin'",
    to: 'task.holder',
    why: 'only what has a holder is interrupted; the type does not say so',
  },
  {
    file: 'core/fleet/task-ownership',
    inside: 'applyEnding',
    from: "result.tail.split('\\n')[0] ?? null",
    to: "result.tail.split('\\n')[0]",
    why: 'a split always has a first part; the type does not say so',
  },
  {
    file: 'core/store/sqlite/tables/tasks',
    inside: 'tasks',
    from: '1',
    to: '2',
    why: 'SQLite takes any limit below zero for none',
  },
  {
    file: 'core/store/sqlite/tables/tasks',
    inside: 'leaseTask',
    from: 'held.find(({ id }) => id === step.task.id) ?? null',
    to: 'held.find(({ id }) => id === step.task.id)',
    why: 'every step is about one of the tasks that were held; the type does not say so',
  },
  { file: 'core/fleet/audit', inside: 'canonicalJson', from: 'one < other', to: 'one <= other', why: 'names differ' },
  { file: 'core/fleet/audit', inside: 'canonicalJson', from: '1', to: '2', why: SIGN_ALONE },
  {
    file: 'core/fleet/audit-restore',
    inside: 'signerOfRestore',
    from: "if (typeof key !== 'string' || typeof signature !== 'string') return null",
    to: ';',
    why: NO_TEXT,
  },
  {
    file: 'core/fleet/audit-restore',
    inside: 'signerOfRestore',
    from: "typeof key !== 'string' || typeof signature !== 'string'",
    to: "typeof key !== 'string' && typeof signature !== 'string'",
    why: NO_TEXT,
  },
  {
    file: 'core/store/sqlite/tables/audit-chain',
    inside: 'allRows',
    from: 'rows.at(-1)?.seq ?? after',
    to: 'rows.at(-1)?.seq',
    why: 'a full page has a last row; the type does not say so',
  },
  {
    file: 'core/store/sqlite/audit/verify-lines',
    inside: 'verifyExport',
    from: '1',
    to: '2',
    why: 'of the count of entries only whether there is one is asked',
  },
  {
    file: 'core/store/sqlite/tables/audit-chain',
    inside: 'append',
    from: 'this.#request?.id ?? null',
    to: 'this.#request?.id',
    why: 'the hash and the row have null for what is missing; the type wants it said',
  },
]
