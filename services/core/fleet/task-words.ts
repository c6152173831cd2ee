/** The words by which agents that know nothing of S2 say how a task is, and what a message about it means. */

/** `declined`: its holder will not do it; `cancelled`: nobody shall. */
export type Status = 'accepted' | 'in_progress' | 'blocked' | 'completed' | 'failed' | 'declined' | 'cancelled'

const STATUS_WORDS: ReadonlyMap<string, Status> = byWord({
  accepted: ['accepted', 'acknowledged', 'received'],
  in_progress: ['in_progress', 'started', 'working', 'running'],
  blocked: ['blocked', 'waiting', 'paused'],
  completed: [
    'completed',
    'complete',
    'done',
    'finished',
    'success',
    'succeeded',
    'successful',
    'ok',
    'pass',
    'passed',
  ],
  failed: ['failed', 'failure', 'error', 'timeout', 'timed_out', 'crashed'],
  declined: ['declined', 'rejected', 'refused'],
  cancelled: ['cancelled', 'canceled', 'withdrawn', 'aborted', 'abandoned', 'superseded', 'obsolete', 'stopped'],
})

/** What a message's type means: a status, or that its field `status` says it, with the status where that field is absent. */
type TypeMeaning = Status | { readonly withoutStatus: Status | null }

/** Types beside those that S2 writes; a leading `task_` means the same. Nothing here is an order to a worker, such as `complete_task`. */
const TYPE_WORDS: ReadonlyMap<string, TypeMeaning> = new Map<string, TypeMeaning>([
  ...byWord({
    accepted: [
      'accepted',
      'accept',
      'accept_task',
      'ack',
      'acknowledge',
      'acknowledged',
      'acknowledgment',
      'acknowledgement',
      'receipt',
      'received',
    ],
    in_progress: ['started', 'in_progress'],
    blocked: ['blocked'],
    completed: ['completed', 'complete', 'completion', 'done', 'finished'],
    failed: ['failed', 'failure'],
    declined: ['declined', 'decline', 'decline_task', 'rejected', 'reject', 'reject_task', 'refused'],
    cancelled: [
      'cancelled',
      'canceled',
      'cancel',
      'cancel_task',
      'cancellation',
      'withdrawn',
      'withdrawal',
      'withdraw_task',
      'aborted',
      'abort_task',
    ],
  }),
  ...['progress', 'progress_update', 'update', 'status', 'status_update'].map(
    (word) => [word, { withoutStatus: 'in_progress' }] as const,
  ),
  ...['result', 'report'].map((word) => [word, { withoutStatus: null }] as const),
])

function byWord(words: Readonly<Partial<Record<Status, readonly string[]>>>): Map<string, Status> {
  return new Map(Object.entries(words).flatMap(([status, each]) => each.map((word) => [word, status as Status])))
}

/** What an agent means by a word for its status; null for a word that nobody knows. */
export function statusOfWord(word: string): Status | null {
  return STATUS_WORDS.get(plainly(word)) ?? null
}

/** What a message of this type means; null for a type that nobody knows. */
export function meaningOfType(type: string): TypeMeaning | null {
  const word = plainly(type)
  const stem = word.replace(/^task_/, '')
  return TYPE_WORDS.get(stem) ?? (stem === word ? null : (STATUS_WORDS.get(stem) ?? null))
}

function plainly(word: string): string {
  return word
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_')
}
