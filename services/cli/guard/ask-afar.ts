import { randomBytes } from 'node:crypto'
import type { HookReport } from '#agents/hook-report.ts'
import type { CommandContext } from '#console/context.ts'
import { promptLineAtTerminal } from '#fleet/prompt-name.ts'
import { decisionText } from './permission-answer.ts'
import { namePrompt } from './permission-prompt.ts'
import { awaitAnswer } from './prompt-wait.ts'

/** What the hook of a permission prompt was told, and how it tells keepalive of it. */
export interface ToldPrompt {
  readonly state: string
  readonly report: HookReport
  /** What the client gave its hook. */
  readonly input: string
  put(report: HookReport): Promise<void>
}

/**
 * Tells of a permission prompt with a name, by which it can be answered from afar, waits for the answer, and gives it to the client.
 * Where none came and the dialog is still there, it tells that only its terminal answers it.
 */
export async function askAfar({ state, report, input, put }: ToldPrompt, context: CommandContext): Promise<void> {
  const { event } = report
  const prompt = namePrompt(event, input, randomBytes(6))
  if (prompt === null) return await put(report)
  await put({ ...report, event: { ...event, what: prompt.what } })
  const outcome = await awaitAnswer(state, event, prompt, context.clock)
  if (outcome === 'unanswered')
    await put({ ...report, event: { ...event, what: promptLineAtTerminal(prompt.what) }, at: context.clock.wall() })
  else if (outcome !== 'over') context.print(`${decisionText(outcome)}\n`)
}
