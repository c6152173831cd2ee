import type { Script } from './model.ts'
import { type Answer, call, type Question, say } from './model-api.ts'

/** What a diligent agent does with a task, by the results of its tools. */
export interface Diligence {
  /** Uses a tool of the client for a task. */
  work(task: string, question: Question): Answer
  /** Told before a task is ended. */
  onWorked?(task: string): Promise<void>
}

/**
 * A model that does what the fleet gives it: whenever it is spoken to it looks for mail and takes a task, works on it, ends it, and
 * asks for the next until there is none.
 */
export function diligent({ work, onWorked = async () => undefined }: Diligence): Script {
  let step: 'check' | 'take' | 'work' | 'end' = 'check'
  let task = ''
  return async (question) => {
    const { newest } = question
    if (!isResult(newest)) step = 'check'
    switch (step) {
      case 'check':
        step = 'take'
        return call('mcp__s2__check_messages')
      case 'take':
        step = 'work'
        return call('mcp__s2__take_task')
      case 'work': {
        const taken = taskIn(newest)
        if (taken === null) {
          step = 'check'
          return say('no task waits')
        }
        task = taken
        step = 'end'
        return work(task, question)
      }
      case 'end':
        await onWorked(task)
        step = 'check'
        return call('mcp__s2__complete_task', { task_id: task, result: `${task} is done` })
    }
  }
}

function isResult(newest: string): boolean {
  return /\[(tool_result|function_call_output)/.test(newest)
}

/** The id of the task that `take_task` answered, however often its JSON is quoted. */
function taskIn(newest: string): string | null {
  return /\\*"task\\*":\s*\{\\*"(?:id|task_id)\\*":\s*\\*"([\w-]+)/.exec(newest)?.[1] ?? null
}
