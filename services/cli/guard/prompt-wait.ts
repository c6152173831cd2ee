import { readClientSessions } from '#agents/client-sessions-folder.ts'
import type { HookEvent } from '#agents/hook-event.ts'
import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import { answerablePromptIn } from '#fleet/prompt-name.ts'
import { sideOf } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { Inbox } from '#spool/inbox.ts'
import { spendOnAnswer } from './grant.ts'
import { recordAct } from './journal.ts'
import { ANSWER_ACTION, type PermissionAnswer, type ProvedAnswer, provedText, readAnswer } from './permission-answer.ts'
import type { PermissionPrompt } from './permission-prompt.ts'

/**
 * How long an answer is waited for. Claude Code shows its dialog meanwhile, so that this keeps nobody waiting; a process of some tens
 * of megabytes stays for it. The hook's own time-out, `ANSWER_TIMEOUT_S`, is longer.
 */
export const ANSWER_WAIT_MS = 590_000
/** How long it is still told to an answer that the prompt is over: about as long as a message may be on its way. */
const LATE_MS = 5_000
const LOOK_MS = 500

/** What came of it. `over`: a person at the terminal was first; `unanswered`: the dialog is still there. */
export type PromptOutcome = PermissionAnswer | 'over' | 'unanswered'

/**
 * Waits until somebody afar answers a prompt, by a message that comes into this host's inbox; it is taken out of there. What
 * is not answered as it must be is refused, does nothing, and is written down. Throws what the disk says: then nothing is answered.
 */
export async function awaitAnswer(
  state: string,
  event: Pick<HookEvent, 'client' | 'id'>,
  prompt: PermissionPrompt,
  clock: Clock,
): Promise<PromptOutcome> {
  const wait = new PromptWait(state, event, prompt, clock)
  const began = clock.now()
  for (;;) {
    const answer = await wait.look()
    if (answer !== null) return answer
    if (wait.overAt !== null && clock.now() - wait.overAt >= LATE_MS) return 'over'
    if (wait.overAt === null && clock.now() - began >= ANSWER_WAIT_MS) return 'unanswered'
    await clock.sleep(LOOK_MS)
  }
}

class PromptWait {
  /** When the prompt was seen to be over, by the clock that never jumps. */
  overAt: number | null = null
  readonly #state: string
  readonly #event: Pick<HookEvent, 'client' | 'id'>
  readonly #prompt: PermissionPrompt
  readonly #clock: Clock
  readonly #inbox: Inbox
  #wasShown = false

  constructor(state: string, event: Pick<HookEvent, 'client' | 'id'>, prompt: PermissionPrompt, clock: Clock) {
    this.#state = state
    this.#event = event
    this.#prompt = prompt
    this.#clock = clock
    this.#inbox = new Inbox(state)
  }

  async look(): Promise<PermissionAnswer | null> {
    const others = await this.#lookAtSessions()
    for await (const [id, message] of this.#inbox.readAll('new', await this.#inbox.list('new'))) {
      const answer = message === null ? null : answerIn(message)
      if (answer === null || others.has(answer.prompt)) continue
      if (await this.#settle(id, answer)) return answer
    }
    return null
  }

  /** Notes whether the dialog is still there, as keepalive tells; answers the prompts of other sessions. While keepalive is away nobody knows. */
  async #lookAtSessions(): Promise<ReadonlySet<string>> {
    const sessions = await readClientSessions(this.#state)
    const names = sessions.map(({ activity: { state, what } }) =>
      state === 'waiting' ? answerablePromptIn(what) : null,
    )
    const isShown = sessions.some(
      ({ client, id }, at) => client === this.#event.client && id === this.#event.id && names[at] === this.#prompt.name,
    )
    if (this.#wasShown && !isShown) this.overAt ??= this.#clock.now()
    this.#wasShown ||= isShown
    return new Set(names.filter((name) => name !== null && name !== this.#prompt.name) as string[])
  }

  /** Takes an answer, and says whether it counts. A message that was taken comes again to nobody, whatever happens then. */
  async #settle(id: number, answer: ProvedAnswer): Promise<boolean> {
    if ((await this.#inbox.takeOne(id)) === null) return false
    await this.#inbox.ack([id])
    const { prompt, decision, reason } = answer
    const why = await this.#refusalOf(answer)
    const outcome = why === null ? { reason, what: this.#prompt.what } : { why }
    const action = why === null ? 'answered' : 'refused'
    await recordAct(this.#state, { action, details: { prompt, decision, ...outcome } }, this.#clock.wall())
    return why === null
  }

  /** Why an answer does nothing; null where it counts. The code is not spent on one that cannot count. */
  async #refusalOf(answer: ProvedAnswer): Promise<string | null> {
    if (answer.prompt !== this.#prompt.name) return 'no client here waits for an answer to that prompt'
    if (this.overAt !== null) return 'the prompt was over before the answer came'
    if (answer.decision === 'allow' && !this.#prompt.isWhole) return 'what the tool is given was not shown whole'
    try {
      await spendOnAnswer(this.#state, provedText(answer), answer.proof, this.#clock.wall())
      return null
    } catch (error) {
      if (error instanceof S2Error && error.code === 'forbidden') return error.message
      throw error
    }
  }
}

/** Only the other end of the conversation answers, and no agent that writes through it. */
function answerIn({ action, from, sender, text }: StoredMessage): ProvedAnswer | null {
  return action === ANSWER_ACTION && sender === undefined && sideOf(from) === 'a' ? readAnswer(text) : null
}
