import type { TaskName } from '#fleet/task-names.ts'

/** What conversations call tasks, beside their ids; in memory. */
export class MemoryTaskNames {
  #all: TaskName[] = []

  note(name: TaskName): void {
    const isKnown = this.withName(name.name, name.conversation).some(({ task }) => task === name.task)
    if (!isKnown) this.#all.push(Object.freeze({ ...name }))
  }

  withName(name: string, conversation: string | null): readonly TaskName[] {
    return this.#all.filter((each) => each.name === name && (conversation ?? each.conversation) === each.conversation)
  }

  namesOf(conversation: string, task: string): readonly string[] {
    return this.#all.flatMap((each) => (each.task === task && each.conversation === conversation ? each.name : []))
  }

  forget(task: string): void {
    this.#all = this.#all.filter((each) => each.task !== task)
  }
}
