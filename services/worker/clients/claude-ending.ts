import { stateAfterFailure } from '#agents/failure-codes.ts'
import { retryTimeIn } from '#agents/retry-time.ts'
import type { ClientEnding } from './client-driver.ts'
import { type AskedTool, deniedInWords } from './denied-tools.ts'
import { field, listOf, numberOf, textOf } from './said.ts'

/** What a talk remembers that its result line does not say itself. */
export interface ClaudeMemory {
  /** The code of the last error of the service behind the client, e.g. `rate_limit`. */
  readonly error: string | null
  /** When the limit of use that refused it is over, milliseconds since 1970. */
  readonly limitEndsAt: number | null
  /** The denied tools after which no other tool went well. */
  readonly denied: readonly AskedTool[]
  readonly isResumed: boolean
}

/**
 * What a result line of Claude Code means. It tells endings by codes: `subtype`, the error of the last answer, the status of the
 * service. Its words are read only for when it may be tried again, where no field says that.
 */
export function claudeEnding(result: unknown, memory: ClaudeMemory, now: number, zone: string): ClientEnding {
  const subtype = textOf(field(result, 'subtype')) ?? 'unknown'
  const text = textOf(field(result, 'result')) ?? ''
  if (memory.isResumed && subtype === 'error_during_execution' && field(result, 'num_turns') === 0)
    return { is: 'no_session' }
  if (subtype === 'error_max_budget_usd') return { is: 'budget' }
  if (field(result, 'is_error') !== true) return answer(result, text, memory)
  const status = numberOf(field(result, 'api_error_status'))
  const words = [text, ...listOf(field(result, 'errors')).flatMap((each) => textOf(each) ?? [])]
  const why = words.filter((each) => each !== '').join('; ') || subtype
  const code = memory.error ?? ''
  const said = `claude: ${why}`
  if (code === 'model_not_found') return { is: 'sick', why: said, until: null }
  if (code === 'rate_limit' || status === 429)
    return { is: 'parked', why: said, until: memory.limitEndsAt ?? retryTimeIn(why, now, zone) }
  if (stateAfterFailure(code) !== null || status === 401 || status === 403 || status >= 500)
    return { is: 'parked', why: said, until: retryTimeIn(why, now, zone) }
  return { is: 'failed', why: `${subtype}: ${why}` }
}

/** An answer counts as one that the task is done, unless the model refused, or what it was denied was the last that it tried. */
function answer(result: unknown, text: string, { denied }: ClaudeMemory): ClientEnding {
  if (denied.length > 0) return { is: 'failed', why: deniedInWords(denied, text) }
  if (field(result, 'stop_reason') === 'refusal')
    return { is: 'failed', why: `the model refused${text === '' ? '' : `; it said: ${text}`}` }
  return { is: 'done', text }
}
