import type { CommandContext } from '#console/context.ts'
import { failureOf } from '#console/failure.ts'
import { counted, oneLine, plain } from '#console/terminal-text.ts'
import { roughDuration } from '#runtime/duration.ts'
import { wholeMinuteText } from '#runtime/instant.ts'
import type { WorkEvent } from './work-event.ts'

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

const WARNINGS: readonly WorkEvent['event'][] = ['trouble', 'refused', 'stopping', 'returned', 'sick', 'parked']

function levelOf(event: WorkEvent): 'info' | 'warn' {
  const isExpected = event.event === 'refused' && event.then === 'expected'
  return WARNINGS.includes(event.event) && !isExpected ? 'warn' : 'info'
}

const WHY_STOPPING = {
  lease_lost: 'the task was taken away',
  lease_unsure: 'its lease ran out while the bridge was unreachable',
  told_to_stop: 'the worker was told to stop',
} as const

const WHY_RETURNED = {
  sick: 'no command can work here',
  parked: 'none may work here now',
  quick_failure: 'it failed within moments, so that it is tried once more, by another agent where there is one',
  not_now: 'its command says so again, where other work goes well',
  client_died: 'its client ended without a word on it',
} as const

const AFTER_REFUSAL = {
  told_without_text: '; it is told without its text',
  not_taken_again: '; this worker does not take the task again',
  nothing: '',
  expected: '',
} as const

/** An event as the log of its task has it: one line with the time, which has no secrets, since its output has none. */
export function logText(event: WorkEvent, now: number): string {
  return `${new Date(now).toISOString().slice(0, 19)}Z ${eventText(event)}`
}

function eventText(event: WorkEvent): string {
  switch (event.event) {
    case 'output':
      return `${plain(event.line)}\n`
    case 'idle':
      return event.waitingReports === undefined
        ? 's2: waiting for work\n'
        : `s2: waiting for keepalive to send ${counted(event.waitingReports, 'report')}\n`
    case 'started':
      return `s2: ${event.task} (${event.priority}, epoch ${event.epoch}) started\n`
    case 'ended':
      if (event.why !== undefined) return `s2: ${event.task}: ${oneLine(event.why)}\n`
      return `s2: ${event.task} ended with ${event.signal ?? `exit code ${event.exitCode ?? 'none'}`}\n`
    case 'reported':
      return `s2: ${event.task} is ${event.state}\n`
    case 'refused':
      if (event.then === 'expected') return `s2: ${event.task} was taken away: how its command ended counts no more\n`
      return `s2: the ${event.what} of ${event.task} was refused: ${oneLine(event.why)}${AFTER_REFUSAL[event.then]}\n`
    case 'returned':
      return `s2: ${event.task} went back: ${WHY_RETURNED[event.cause]}${because(event.why)}\n`
    case 'sick':
      return `s2: no command can work here${because(event.why)}; ${nextProbe(event.probeInMs)}\n`
    case 'parked': {
      const until = event.until === null ? '' : ` before ${wholeMinuteText(Date.parse(event.until))}`
      return `s2: no command may work here${until}${because(event.why)}; ${nextProbe(event.probeInMs)}\n`
    }
    case 'probing':
      return 's2: trying with one task whether commands can work here again\n'
    case 'well':
      return 's2: commands can work here again\n'
    case 'stopping': {
      const reason = event.reason === undefined ? '' : `: ${oneLine(event.reason)}`
      return `s2: stopping the command of ${event.task}: ${WHY_STOPPING[event.why]}${reason}\n`
    }
    case 'trouble':
      return `s2: ${event.what}: ${oneLine(reasonOf(event.error))}\n`
  }
}

function because(why: string): string {
  return why === '' ? '' : `: ${oneLine(why)}`
}

function nextProbe(ms: number): string {
  return `the next try is in ${roughDuration(ms)}`
}

/** What went wrong, and what to do where somebody knows. */
function reasonOf(error: unknown): string {
  const { message, next } = failureOf(error)
  return next === undefined ? message : `${message}; ${next}`
}
