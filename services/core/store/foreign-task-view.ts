import { textHead } from '#fleet/cut-text.ts'
import type { ForeignTaskView, NamedTask } from '#fleet/foreign-assignments.ts'
import { conversationOf, type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import type { TaskName } from '#fleet/task-names.ts'

/** Characters of a name that a message carries: a foreign writer's role may be as long as it likes. */
const NAME_MAX = 200

/** What a backend reads for it. */
export interface ForeignTaskRows extends Pick<ForeignTaskView, 'heldEpoch' | 'endOf' | 'hasOtherOfRole'> {
  find(id: string): Task | undefined
  /** Who calls which task so; of one conversation, or of all. */
  withName(name: string, conversation: string | null): readonly TaskName[]
  /** What the conversation calls the task. */
  namesOf(conversation: string, task: string): readonly string[]
  /** All who hold or held the task. */
  holdersOf(task: string): readonly SessionId[]
}

/** The tasks of any backend by the names that conversations give them: where a conversation has none for a task, the id is its name. */
export class ForeignTasks implements ForeignTaskView {
  readonly #rows: ForeignTaskRows

  constructor(rows: ForeignTaskRows) {
    this.#rows = rows
  }

  named(conversation: string, name: string): readonly Task[] {
    const named = this.#rows.withName(name, conversation).flatMap(({ task }) => this.#rows.find(task) ?? [])
    const withId = this.#rows.namesOf(conversation, name).length === 0 ? this.withId(conversation, name) : null
    return byAge(withId === null ? named : [withId, ...named])
  }

  withId(conversation: string, id: string): Task | null {
    const task = this.#rows.find(id)
    return task !== undefined && this.isKnownIn(conversation, task) ? task : null
  }

  /** Whether the task was given in this conversation, or by one of its ends. */
  isKnownIn(conversation: string, { id, createdBy }: Task): boolean {
    if (createdBy !== null && conversationOf(createdBy) === conversation) return true
    return this.heldEpoch(id, sessionId(conversation, 'b')) !== null
  }

  namedElsewhere(conversation: string, name: string): readonly NamedTask[] {
    const named = this.#rows.withName(name, null).flatMap((each) => {
      const task = this.#rows.find(each.task)
      return task === undefined ? [] : [{ task, conversation: each.conversation }]
    })
    const withId = this.#rows.find(name)
    const ends = withId === undefined ? [] : [...this.#rows.holdersOf(name), withId.createdBy]
    const knowIt = new Set(ends.flatMap((each) => (each === null ? [] : conversationOf(each))))
    const withIds = withId === undefined ? [] : [...knowIt].map((each) => ({ task: withId, conversation: each }))
    return [...withIds, ...named]
      .filter((each) => each.conversation !== conversation)
      .sort((one, other) => one.task.createdAt - other.task.createdAt)
  }

  heldEpoch(task: string, session: SessionId): number | null {
    return this.#rows.heldEpoch(task, session)
  }

  isTaken(id: string): boolean {
    return this.#rows.find(id) !== undefined
  }

  endOf(session: SessionId): { readonly agent: string; readonly role: string } | null {
    return this.#rows.endOf(session)
  }

  /** What people call whoever works behind a session: an agent of the Python bridge has no name but its role. */
  nameOf(session: SessionId | null): string | null {
    if (session === null) return null
    const { agent, role } = this.endOf(session) ?? { agent: session, role: session }
    return textHead(agent === session ? role : agent, NAME_MAX)
  }

  hasOtherOfRole(role: string, conversation: string): boolean {
    return this.#rows.hasOtherOfRole(role, conversation)
  }
}

/** What is as old as another, to the millisecond, stays where it is: the task whose id is the name was there first. */
function byAge(tasks: Task[]): Task[] {
  return tasks.sort((one, other) => one.createdAt - other.createdAt)
}
