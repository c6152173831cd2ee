/** A mutant that no test kills, and why that is no gap. It is named by what stands there, since lines move. */
export interface Survivor {
  /** Below services/, without its ending. */
  readonly file: string
  readonly inside: string
  readonly from: string
  readonly to: string
  readonly why: string
}

const OTHER_COUNT = 'a count of changes is only compared with an earlier one'
const LAYOUT = 'how the file is laid out says nothing'
const ORDER = 'a comparison is read by its sign, and no path is listed twice'
const RENEWED_1970 = 'a renewal until the first millisecond of 1970 moves no end'

/** Rights of a minute that end a millisecond early or late: no clock here is as exact. */
const ONE_MS = 'a millisecond more or less of a lease of seconds is nothing that a holder or an observer could see'

const SIGN_ALONE = 'of what a comparison answers the sign alone counts'
const NO_TEXT = 'what is no text is no signature either: the types alone want to hear it first'

export const SURVIVORS: readonly Survivor[] = [
  {
    file: 'core/fleet/signature',
    inside: '(top)',
    from: "['0'.repeat(64)]",
    to: '[]',
    why: 'only how long it takes to refuse a session without tokens changes, which no test measures',
  },
  {
    file: 'bridge/host-header-check',
    inside: 'demandSingle',
    from: 'at < rawHeaders.length',
    to: 'at <= rawHeaders.length',
    why: 'names and values come in pairs, and past the last there is no name',
  },
  {
    file: 'bridge/host-header-check',
    inside: 'demandSingle',
    from: "rawHeaders[at]?.toLowerCase() ?? ''",
    to: 'rawHeaders[at]?.toLowerCase()',
    why: 'only the type asks for it: each place that is looked at holds a name',
  },
  { file: 'bridge/token-cache', inside: '(top)', from: '0', to: '1', why: OTHER_COUNT },
  { file: 'bridge/token-cache', inside: 'forget', from: '1', to: '2', why: OTHER_COUNT },
  {
    file: 'bridge/nonce-cache',
    inside: 'demandTimely',
    from: 'created > now',
    to: 'created >= now',
    why: 'what was signed in this very second has been accepted before',
  },
  {
    file: 'bridge/nonce-cache',
    inside: 'purge',
    from: 'this.#purgedAt = now',
    to: ';',
    why: 'to look a second time within a second finds nothing, and only costs',
  },
  {
    file: 'core/fleet/credential',
    inside: 'newestAt',
    from: 'each.createdAt >= newest.createdAt',
    to: 'each.createdAt > newest.createdAt',
    why: 'of two credentials of one millisecond neither is the newer one',
  },
  { file: 'core/identity/manifest', inside: 'formatManifest', from: '1', to: '2', why: LAYOUT },
  { file: 'core/identity/manifest', inside: 'signedFields', from: '1', to: '2', why: ORDER },
  {
    file: 'core/identity/manifest',
    inside: 'signedFields',
    from: 'one.path < other.path',
    to: 'one.path <= other.path',
    why: ORDER,
  },
  { file: 'core/spool/credentials', inside: 'renewedUntil', from: '0', to: '1', why: RENEWED_1970 },
  {
    file: 'cred-sync/sync-credential',
    inside: 'answerOfRemote',
    from: 'if (this.#asking === null) return null',
    to: ';',
    why: 'only the type asks for it: each look asks before it waits, and one ends before the next',
  },
  {
    file: 'cred-sync/git-source',
    inside: '(top)',
    from: '0',
    to: '1',
    why: 'no list is of the first millisecond of 1970',
  },
  {
    file: 'cred-sync/git-source',
    inside: 'entryIn',
    from: "identity.membership?.orchestrator.key ?? ''",
    to: 'identity.membership?.orchestrator.key',
    why: 'a host that has not joined never asks, and no list is signed by no key',
  },
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
