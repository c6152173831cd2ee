import type { CommandContext } from '#console/context.ts'
import type { Trust } from './bridge-address.ts'
import type { Dialogue } from './dialogue.ts'
import type { ThisHost } from './this-host.ts'

/** What options say: it is not asked for. */
export interface Given {
  readonly bridgeUrl?: string
  readonly certificate?: Trust
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly tlsCa?: string
  readonly remote?: string
  readonly acceptHostKey?: string
  readonly number?: string
  readonly wake?: string
  readonly force?: true
}

/** What a question is asked with. */
export interface QuestionContext {
  readonly context: CommandContext
  readonly dialogue: Dialogue
  readonly host: ThisHost
  readonly given: Given
  /** Notes what was made and stays whatever comes. */
  readonly onMade: (what: string) => void
}
