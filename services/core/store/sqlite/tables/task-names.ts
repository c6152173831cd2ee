import type { TaskName } from '#fleet/task-names.ts'
import type { SqliteConnection } from '../file/connection.ts'

/** What conversations call tasks, beside their ids. */
export class TaskNameTable {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  note({ conversation, name, task }: TaskName): void {
    this.#connection.run(
      'INSERT OR IGNORE INTO s2_task_names (conversation, name, task) VALUES (?, ?, ?)',
      conversation,
      name,
      task,
    )
  }

  withName(name: string, conversation: string | null): TaskName[] {
    const named = `SELECT s2_task_names.conversation, s2_task_names.name, s2_task_names.task
      FROM s2_task_names JOIN s2_tasks ON s2_tasks.id = s2_task_names.task WHERE s2_task_names.name = ?`
    return conversation === null
      ? this.#connection.all<TaskName>(`${named} ORDER BY s2_tasks.rowid`, name)
      : this.#connection.all<TaskName>(
          `${named} AND s2_task_names.conversation = ? ORDER BY s2_tasks.rowid`,
          name,
          conversation,
        )
  }

  namesOf(conversation: string, task: string): string[] {
    return this.#connection
      .all<{ name: string }>('SELECT name FROM s2_task_names WHERE task = ? AND conversation = ?', task, conversation)
      .map(({ name }) => name)
  }
}
