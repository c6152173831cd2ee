/** Plays situations whose truth is known, and says how often the code judges one wrongly. */
import { readOptions } from '../options.ts'
import { AT_ONCE, type Played, playAll, REAL, SIMULATED, type Sum, sumOf } from './corpus.ts'
import { type Happening, inSeconds, type Situation } from './situation.ts'

const HELP = `usage: node test/corpus/main.ts [options]

  --only TEXT    the situations with this text in their title or label
  --json         all that happened, as JSON
  --help         this text
`

const values = readOptions(HELP, { only: { type: 'string', default: '' }, json: { type: 'boolean', default: false } })

/** What a reader of the table wants to know of. */
const SHOWN = /^(?:told|moved|ended|returned|interrupted|failed|completed|place (?:sick|parked))/

function shown({ what, at }: Happening): string {
  return `${what} ${inSeconds(at)}`
}

function outcome({ situation, faults }: Played): string {
  if (situation.known === undefined) return faults.length === 0 ? 'ok' : 'WRONG'
  return faults.length === 0 ? 'ok, though it is said to be wrong' : 'wrong, as is known'
}

function print(played: Played): void {
  const { situation, happenings, faults } = played
  const { title, label, known } = situation
  console.log(`${label.padEnd(8)} ${title}`)
  console.log(
    `         ${outcome(played)}: ${happenings
      .filter(({ what }) => SHOWN.test(what))
      .map(shown)
      .join(', ')}`,
  )
  for (const fault of faults) console.log(`         - ${fault}`)
  if (faults.length > 0 && known !== undefined) console.log(`         = ${known}`)
}

/** For example `41 situations: 0 healthy ones disturbed, 1 stuck one missed, error rate 2.4 %`. */
function inWords({ situations, disturbed, missed, known }: Sum): string {
  const rate = situations === 0 ? 0 : (100 * (disturbed + missed)) / situations
  const ones = (count: number, kind: string): string => `${count} ${kind} ${count === 1 ? 'one' : 'ones'}`
  const sum = `${situations} situations: ${ones(disturbed, 'healthy')} disturbed, ${ones(missed, 'stuck')} missed`
  return `${sum}, error rate ${Number(rate.toFixed(1))} %${known === 0 ? '' : ` (known: ${known})`}`
}

const isWanted = ({ title, label }: Situation): boolean => title.includes(values.only) || label === values.only
const played = [...(await playAll(SIMULATED.filter(isWanted), 1)), ...(await playAll(REAL.filter(isWanted), AT_ONCE))]
const sum = sumOf(played)
if (values.json) {
  const situations = played.map(({ situation: { title, label, known }, happenings, faults }) => {
    return { title, label, known: known ?? null, faults, happenings }
  })
  console.log(JSON.stringify({ ...sum, situations }))
} else {
  for (const each of played) print(each)
  console.log(inWords(sum))
}
process.exitCode = played.length === 0 || sum.disturbed + sum.missed > sum.known ? 1 : 0
