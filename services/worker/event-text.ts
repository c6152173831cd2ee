import type { CommandContext } from '#console/context.ts'
import { failureOf } from '#console/failure.ts'
import { oneLine, plain } from '#console/terminal-text.ts'
import type { WorkEvent } from './task-loop.ts'

/** Prints the events of tasks: as text, only what goes wrong, or as JSON, one event a line. */
export function eventPrinter(context: CommandContext, output: 'text' | 'quiet' | 'json'): (event: WorkEvent) => void {
  if (output === 'json') {
    return (event) => {
      const error = event.event === 'trouble' ? { error: reasonOf(event.error) } : {}
      const at = new Date(context.clock.wall()).toISOString()
      context.print(`${JSON.stringify({ at, level: levelOf(event), ...event, ...error })}\n`)
    }
  }
  return (event) => {
    if (output === 'quiet' && levelOf(event) === 'info') return
    const line = eventText(event)
    if (event.event === 'output') context.print(line)
    else context.tell(line)
  }
}

function levelOf({ event }: WorkEvent): 'info' | 'warn' {
  return event === 'trouble' || event === 'refused' || event === 'stopping' ? 'warn' : 'info'
}

const WHY_STOPPING = {
  lease_lost: 'the task was given to another agent',
  lease_unsure: 'its lease ran out while the bridge was unreachable',
  told_to_stop: 'the worker was told to stop',
} as const

const AFTER_REFUSAL = {
  told_without_text: '; it is told without its text',
  not_taken_again: '; this worker does not take the task again',
  nothing: '',
} as const

function eventText(event: WorkEvent): string {
  switch (event.event) {
    case 'output':
      return `${plain(event.line)}\n`
    case 'idle':
      return event.waitingReports === undefined
        ? 's2: waiting for work\n'
        : `s2: waiting for keepalive to send ${event.waitingReports} reports\n`
    case 'started':
      return `s2: ${event.task} (${event.priority}, epoch ${event.epoch}) started\n`
    case 'ended':
      return `s2: ${event.task} ended with ${event.signal ?? `exit code ${event.exitCode ?? 'none'}`}\n`
    case 'reported':
      return `s2: ${event.task} is ${event.state}\n`
    case 'refused':
      return `s2: the ${event.what} of ${event.task} was refused: ${oneLine(event.why)}${AFTER_REFUSAL[event.then]}\n`
    case 'stopping':
      return `s2: stopping the command of ${event.task}: ${WHY_STOPPING[event.why]}\n`
    case 'trouble':
      return `s2: ${event.what}: ${oneLine(reasonOf(event.error))}\n`
  }
}

/** What went wrong, and what to do where somebody knows. */
function reasonOf(error: unknown): string {
  const { message, next } = failureOf(error)
  return next === undefined ? message : `${message}; ${next}`
}
