import type { CommandContext } from '#console/context.ts'
import type { Trust } from './bridge-address.ts'
import type { Dialogue } from './dialogue.ts'
import type { ThisHost } from './host-roles.ts'
import type { WorkerToInvite } from './invite-workers.ts'

/** Values given by options: the questions for them are not asked. */
export interface GivenOptions {
  readonly bridgeUrl?: string
  readonly certificate?: Trust
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly tlsCa?: string
  readonly remote?: string
  readonly acceptHostKey?: string
  /** The line of an invitation; `-`: it is read from standard input. */
  readonly join?: string
  readonly wake?: string
  readonly worker?: readonly WorkerToInvite[]
  readonly force?: true
}

/** What every question is given. */
export interface QuestionContext {
  readonly context: CommandContext
  readonly dialogue: Dialogue
  readonly host: ThisHost
  readonly given: GivenOptions
  /** Records a file that was made and stays, whatever happens later. */
  readonly onMade: (what: string) => void
}
