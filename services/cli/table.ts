import { cut, oneLine, pad, widthOf } from './text.ts'

export interface Column {
  readonly title: string
  /** Takes what room is left, and is cut first. */
  readonly stretches?: boolean
}

/** Most columns a cell takes that does not stretch. */
const CELL_MAX = 28

/** Lays rows under titles, two spaces apart, no line longer than `width`. Texts of others come out harmless. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): string[] {
  const cells = rows.map((row) => columns.map((_, index) => oneLine(row[index] ?? '')))
  const natural = columns.map(({ title, stretches }, index) => {
    const widest = Math.max(widthOf(title), ...cells.map((row) => widthOf(row[index] ?? '')))
    return stretches === true ? widest : Math.min(widest, CELL_MAX)
  })
  const gaps = 2 * (columns.length - 1)
  const fixed = natural.reduce((sum, each, index) => sum + (columns[index]?.stretches === true ? 0 : each), 0)
  const elastic = columns.filter(({ stretches }) => stretches === true).length
  const room = elastic === 0 ? 0 : Math.max(8, Math.floor((width - gaps - fixed) / elastic))
  const widths = natural.map((each, index) => (columns[index]?.stretches === true ? Math.min(each, room) : each))
  const lay = (row: readonly string[]): string =>
    cut(
      row
        .map((cell, index) => pad(cut(cell, widths[index] ?? 0), widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
      width,
    )
  return [lay(columns.map(({ title }) => title)), ...cells.map(lay)]
}
