import { UsageError } from '#console/failure.ts'
import { closest } from '#runtime/read-settings.ts'

/** The program of this name, with or without `s2-`. Throws UsageError where none of them is called so. */
export function programNamed<N extends string>(text: string, programs: readonly N[]): N {
  const found = programs.find((each) => each === text.replace(/^s2-/, ''))
  if (found !== undefined) return found
  const near = closest(text, programs)
  throw new UsageError(
    `there is no program ${JSON.stringify(text)}`,
    near === undefined ? `name one of ${programs.join(', ')}` : `did you mean ${near}?`,
  )
}
