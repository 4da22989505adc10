/** All texts of the page, in German. */
import type { Fault } from "../limits";
import type { Texts } from "./en";

const counted = (count: number, singular: string, plural: string) => `${count} ${count === 1 ? singular : plural}`;
/** A wait in seconds, minutes or hours. */
const wait = (seconds: number) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} Std.`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0).replace(".", ",")} MB`;

// Texts that several codes share.
const pageFault = "Auf dieser Seite ist ein Fehler aufgetreten. Laden Sie sie neu, und versuchen Sie es erneut.";
const uploadGone = "Der Upload ist abgelaufen. Versuchen Sie es erneut: Das Bild ist noch auf diesem Gerät.";
const sentElsewhere = "Ein anderes Fenster sendet dies schon. Warten Sie, bis es dort fertig ist, oder versuchen Sie es erneut.";
const imageGone = "Dieses Bild wurde gelöscht. Entfernen Sie den Eintrag aus der Liste.";

export const de: Texts = {
  title: "Bilder",
  sort: "Reihenfolge",
  top: "Beliebt",
  newest: "Neu",
  newPost: "Neuer Beitrag",
  signIn: "Anmelden",
  signOut: "Abmelden",
  menu: "Menü",
  cancel: "Abbrechen",
  close: "Schließen",
  save: "Speichern",
  edit: "Bearbeiten",
  delete: "Löschen",
  remove: "Entfernen",
  send: "Senden",
  post: "Veröffentlichen",
  pause: "Anhalten",
  resume: "Fortsetzen",
  tryAgain: "Erneut versuchen",
  caption: "Bildunterschrift",
  alt: "Alternativtext",
  altHint: "Beschreiben Sie das Bild für Menschen, die es nicht sehen können.",
  imageBy: (name: string) => `Bild von ${name}`,
  edited: "bearbeitet",

  showMore: "Mehr zeigen",
  loading: "Wird geladen",
  end: "Es gibt keine weiteren Bilder.",
  nothingYet: "Es gibt noch keine Bilder. Wählen Sie Neuer Beitrag, um das erste hinzuzufügen.",
  feedFailed: "Die Bilder konnten nicht geladen werden. Prüfen Sie die Verbindung und versuchen Sie es erneut.",

  comments: (count: number) => `Kommentare (${count})`,
  commentList: "Kommentare",
  comment: "Kommentar",
  commentHint: "Schreiben Sie etwas zu diesem Bild",
  noComments: "Noch keine Kommentare.",
  olderComments: "Ältere Kommentare zeigen",
  commentsFailed: "Die Kommentare konnten nicht geladen werden. Versuchen Sie es erneut, wenn Sie online sind.",
  postGone: "Dieses Bild wurde gelöscht. Schließen Sie es, um zu den anderen Bildern zurückzukehren.",
  previous: "Voriges Bild",
  next: "Nächstes Bild",
  editComment: "Kommentar bearbeiten",
  deleteComment: "Diesen Kommentar löschen?",
  deletePost: "Dieses Bild löschen?",
  deletePostHint: "Seine Kommentare werden mitgelöscht. Das lässt sich nicht rückgängig machen.",
  editPost: "Beitrag bearbeiten",

  images: "Bilder",
  chooseImages: "Wählen Sie Bilder aus, ziehen Sie sie auf die Seite, oder fügen Sie sie ein.",
  chooseFiles: "Bilder auswählen",
  addImages: "Bilder hinzufügen",
  removeImage: (name: string) => `${name} entfernen`,
  noPreview: "Dieser Browser kann keine Vorschau zeigen. Sie können das Bild trotzdem veröffentlichen.",
  smaller: "Kleiner (2048 px)",
  smallerSaves: (bytes: number) => `Spart ${megabytes(bytes)} Ihrer Daten.`,
  smallerNothing: "Verkleinern macht diese Datei nicht kleiner. Das Original wird gesendet.",
  smallerFailed: "Dieser Browser kann das Bild nicht verkleinern. Das Original wird gesendet.",
  working: "Wird verkleinert",
  draftsRefused: "Einige Bilder oder Texte lassen sich nicht veröffentlichen. Entfernen oder ändern Sie die markierten, dann veröffentlichen Sie.",
  fault: (fault: Fault): string => {
    switch (fault.is) {
      case "empty":
        return "Diese Datei ist leer. Wählen Sie eine andere.";
      case "unreadable":
        return "Der Browser kann diese Datei nicht mehr lesen. Wählen Sie sie noch einmal aus.";
      case "format":
        return "Diese Datei ist kein Bild, das sich veröffentlichen lässt. Wählen Sie JPEG, PNG, WebP, GIF, BMP, HEIC oder AVIF.";
      case "bytes":
        return `Diese Datei ist zu groß. Wählen Sie eine mit höchstens ${megabytes(fault.max)}.`;
      case "pixels":
        return `Dieses Bild hat zu viele Bildpunkte: höchstens ${Math.floor(fault.max / 1e6)} Megapixel sind möglich. Wählen Sie „Kleiner“ oder ein anderes.`;
      case "long":
        return `Dieser Text hat ${fault.has} Zeichen. Kürzen Sie ihn auf ${fault.max}.`;
      case "character":
        return fault.character === "NUL"
          ? "Dieser Text enthält ein ungültiges Zeichen (NUL). Tippen Sie den Text neu."
          : "Dieser Text enthält ein halbes Zeichen (ein einzelnes Surrogat), oft der Rest eines Emojis. Löschen Sie es, oder tippen Sie den Text neu.";
    }
  },
  storageFull: "Auf diesem Gerät ist zu wenig Platz, um dies bis zum Senden zu speichern. Schaffen Sie Platz, und versuchen Sie es erneut.",
  fileUnreadable: "Der Browser kann diese Datei nicht mehr lesen. Wählen Sie sie noch einmal aus.",
  inMemoryOnly: "Dieser Browser speichert dies nicht. Lassen Sie diese Seite offen, bis es gesendet ist.",

  name: "Name",
  nameHint: "Dieser Dienst nimmt jeden Namen ohne Passwort an.",
  token: "Token",
  tokenHint: "Bitten Sie die Betreiber dieses Dienstes um ein Token. Sie erzeugen es mit: image-poster token IHR-NAME.",
  goToIssuer: (host: string) => `Weiter bei ${host}`,
  signInRefused: "Der Dienst hat diese Anmeldung nicht angenommen. Prüfen Sie das Token, oder bitten Sie um ein neues.",
  nameRefused: "Dieser Name ist nicht erlaubt. Nehmen Sie 1 bis 128 druckbare Zeichen.",
  signInUnreachable: "Der Dienst ist nicht erreichbar. Versuchen Sie es erneut, wenn Sie online sind.",
  signedInAs: (name: string) => `Angemeldet als ${name}`,
  signOutWaiting: (count: number) =>
    `${counted(count, "Eintrag von Ihnen ist", "Einträge von Ihnen sind")} noch nicht gesendet. Nicht gesendete Einträge bleiben auf diesem Gerät und werden gesendet, wenn Sie sich wieder anmelden.`,
  signOutQuestion: "Abmelden?",

  uploads: "Uploads",
  waitingRegion: "Noch nicht gesendet",
  progressOf: (name: string) => `Fortschritt von ${name}`,
  stateWaiting: "Wartet",
  stateWaitingFor: (name: string) => `Wartet, bis ${name} sich anmeldet`,
  stateOffline: "Wartet auf eine Verbindung",
  stateReserving: "Beginnt",
  stateUploading: (percent: number) => `Wird hochgeladen, ${percent} %`,
  stateRetrying: (seconds: number) => `Neuer Versuch in ${wait(seconds)}`,
  stateProcessing: "Wird verarbeitet",
  stateRemoving: "Wird entfernt",
  statePaused: "Angehalten",
  stateFailed: (why: string) => `Fehlgeschlagen: ${why}`,
  stateOld: "Dies wurde vor über sechs Tagen zuerst gesendet, oder die Uhr dieses Geräts ging falsch. Es ist vielleicht angekommen. Sehen Sie in den Bildern nach, dann senden Sie es erneut oder entfernen es.",
  stateConflict: "Jemand hat dies geändert, bevor Ihre Änderung ankam. Wählen Sie die Fassung, die bleiben soll.",
  sendAgain: "Erneut senden",
  mine: "Ihre Fassung",
  theirs: "Aktuelle Fassung",
  useMine: "Meine nehmen",
  useTheirs: "Andere behalten",
  waitingComment: (text: string) => `Kommentar: ${text}`,
  waitingEdit: (text: string) => `Änderung: ${text}`,
  waitingDeletion: "Löschen eines Bildes",
  waitingCommentDeletion: "Löschen eines Kommentars",

  offline: "Sie sind offline. Diese Seite zeigt gespeicherte Bilder.",
  offlineWaiting: (count: number) => `Offline: ${count} warten`,
  sending: (count: number) => `Wird gesendet: ${count} warten`,
  signInAgain: (count: number) => `Melden Sie sich zum Senden wieder an: ${count} warten`,
  donePost: "Ihr Bild ist veröffentlicht.",
  doneComment: "Ihr Kommentar ist gesendet.",
  doneEdit: "Ihre Änderung ist gespeichert.",
  doneDeletion: "Gelöscht.",
  goneMeanwhile: "Es wurde inzwischen gelöscht. Nichts wurde geändert.",
  sendingFailed: "Der Dienst hat einen Eintrag abgelehnt. Sehen Sie in die Liste über den Bildern.",

  problems: {
    unreadable: "Der Browser kann dieses Bild nicht mehr lesen. Entfernen Sie es, und wählen Sie es noch einmal aus.",
    identity_required: "Ihre Anmeldung ist abgelaufen. Melden Sie sich wieder an, um fortzufahren.",
    not_yours: "Dies gehört einer anderen Person. Entfernen Sie den Eintrag aus der Liste.",
    admins_only: "Das dürfen nur Administratoren. Bitten Sie einen Administrator darum.",
    direct_access: "Das ist nicht die öffentliche Adresse des Dienstes. Öffnen Sie die Adresse, die Sie von den Betreibern haben.",
    host_not_allowed: "Der Dienst akzeptiert nur seinen eigenen Hostnamen. Öffnen Sie ihn als localhost.",
    rate_limited: "Sie haben eine Grenze des Dienstes erreicht. Warten Sie ein wenig; danach wird weiter gesendet.",
    busy: "Der Dienst ist ausgelastet. Warten Sie einen Moment; danach wird weiter gesendet.",
    not_ready: "Der Dienst ist nicht bereit. Warten Sie einen Moment; danach wird weiter gesendet.",
    internal_error: "Im Dienst ist ein Fehler aufgetreten. Warten Sie ein wenig; bleibt es so, sagen Sie es den Betreibern.",
    storage_full: "Der Dienst hat keinen freien Speicher. Warten Sie ein wenig; bleibt es so, sagen Sie es den Betreibern.",
    body_silent: "Die Verbindung war zu lange still. Suchen Sie eine bessere Verbindung; danach wird weiter gesendet.",
    request_in_progress: "Der Dienst verarbeitet dies noch. Warten Sie einen Moment.",
    image_unreadable: "Das Bild ist beschädigt oder unvollständig. Wählen Sie eine vollständige Kopie oder ein anderes Bild.",
    image_unsupported: "Der Dienst kann diese Art von Bild nicht zeigen. Speichern Sie es in einem anderen Format, und veröffentlichen Sie diese Datei.",
    image_too_large: "Das Bild hat zu viele Bildpunkte. Nehmen Sie ein kleineres.",
    image_too_slow: "Das Dekodieren des Bildes dauert zu lange. Speichern Sie es neu oder kleiner, und veröffentlichen Sie diese Datei.",
    processing_failed: "Der Dienst konnte dieses Bild nicht verarbeiten, und das Bild ist nicht der Grund. Sagen Sie es den Betreibern, oder versuchen Sie es später erneut.",
    unsupported_image: "Diese Datei ist kein Bild, das sich veröffentlichen lässt. Wählen Sie eine andere.",
    upload_too_large: "Die Datei ist zu groß. Nehmen Sie eine kleinere.",
    body_too_large: "Der Text ist zu lang. Kürzen Sie ihn, und senden Sie ihn dann erneut.",
    validation_failed: "Der Dienst hat diesen Eintrag abgelehnt. Entfernen Sie ihn aus der Liste, und legen Sie ihn neu an.",
    checksum_mismatch: "Das Bild wurde unterwegs beschädigt. Versuchen Sie es erneut.",
    upload_gone: uploadGone,
    upload_not_found: uploadGone,
    upload_url_invalid: uploadGone,
    upload_taken_over: sentElsewhere,
    offset_mismatch: sentElsewhere,
    post_not_found: imageGone,
    image_not_found: imageGone,
    comment_not_found: "Dieser Kommentar wurde gelöscht. Entfernen Sie den Eintrag aus der Liste.",
    post_not_ready: "Das Bild ist noch nicht fertig. Versuchen Sie es gleich noch einmal.",
    gone: "Der Beitrag oder Kommentar wurde gelöscht, bevor dies noch einmal ankam. Entfernen Sie den Eintrag aus der Liste, oder legen Sie ihn neu an.",
    edit_conflict: "Jemand hat dies inzwischen geändert. Lesen Sie die aktuelle Fassung, und ändern Sie es dann erneut.",
    idempotency_key_reused: "Der Dienst hat anstelle dieses Eintrags einen anderen erhalten. Sehen Sie in den Bildern nach, ob Ihrer da ist, und versuchen Sie es dann erneut.",
    page_error: pageFault,
    invalid_json: pageFault,
    invalid_multipart: pageFault,
    invalid_request: pageFault,
    invalid_cursor: pageFault,
    invalid_tus_request: pageFault,
    tus_version_unsupported: pageFault,
    concatenation_unsupported: pageFault,
    route_not_found: pageFault,
    method_not_allowed: pageFault,
    multipart_too_large: pageFault,
    piece_too_large: pageFault,
    unsupported_media_type: pageFault,
    range_not_satisfiable: pageFault,
  },
};
