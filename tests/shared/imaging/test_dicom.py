"""DICOM files built around known values."""

import dataclasses

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from shared.imaging import UnreadableImage, UnsupportedImage, decode
from tests.shared.imaging.builders import (
    dicom,
    dicom_dataset,
    dicom_file,
    encoded,
    gradient,
    lookup_table,
)

EIGHT = gradient()
TWELVE = np.linspace(0, 4095, 768).reshape(24, 32).astype(np.uint16)


@pytest.mark.parametrize(
    "transfer_syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_native_transfer_syntax_gives_the_same_pixels(transfer_syntax: str) -> None:
    """The encoding of the data set is none of the picture's business."""
    picture = decode(dicom_file(dicom_dataset(EIGHT), transfer_syntax))

    np.testing.assert_array_equal(picture.pixels, EIGHT)
    assert picture.format == "dicom"


def test_big_endian_samples_are_swapped() -> None:
    """Retired, and still in archives."""
    dataset = dicom_dataset(
        TWELVE.astype(">u2"), BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096
    )

    picture = decode(dicom_file(dataset, ExplicitVRBigEndian))

    assert (picture.pixels[0, 0], picture.pixels[-1, -1]) == (0, 255)


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, "explicit"])
def test_a_file_without_preamble_is_read(transfer_syntax: str) -> None:
    """Old modalities write the bare data set."""
    dataset = dicom_dataset(EIGHT)
    stream = DicomBytesIO()
    stream.is_little_endian = True
    stream.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    write_dataset(stream, dataset)

    np.testing.assert_array_equal(decode(stream.getvalue()).pixels, EIGHT)


def test_window_and_inversion_reproduce_a_hand_computed_row() -> None:
    """Stored 0, 1024, 2048, 4095; window 2048/4096 LINEAR; MONOCHROME1 turns it round."""
    stored = np.array([[0, 1024, 2048, 4095]], dtype=np.uint16)

    picture = decode(
        dicom(
            stored,
            BitsStored=12,
            HighBit=11,
            PhotometricInterpretation="MONOCHROME1",
            WindowCenter=2048,
            WindowWidth=4096,
        )
    )

    np.testing.assert_array_equal(picture.pixels, [[255, 191, 127, 0]])


@pytest.mark.parametrize(
    ("photometric", "shape", "first"),
    [
        ("MONOCHROME2", "IDENTITY", 0),
        ("MONOCHROME1", "INVERSE", 255),
        ("MONOCHROME1", "IDENTITY", 255),
        ("MONOCHROME2", "INVERSE", 255),
    ],
)
def test_presentation_shape_and_monochrome_one_invert_once(
    photometric: str, shape: str, first: int
) -> None:
    """MONOCHROME1 implies INVERSE; two inversions would undo each other."""
    picture = decode(
        dicom(
            np.array([[0, 255]], np.uint8),
            PhotometricInterpretation=photometric,
            PresentationLUTShape=shape,
        )
    )

    assert picture.pixels[0, 0] == first


def test_rescale_comes_before_the_window() -> None:
    """Slope 2, intercept -100: stored 100 is 100 units, the centre."""
    picture = decode(
        dicom(
            np.array([[50, 100, 150]], np.uint8),
            RescaleSlope=2,
            RescaleIntercept=-100,
            WindowCenter=100,
            WindowWidth=200,
            VOILUTFunction="LINEAR_EXACT",
        )
    )

    np.testing.assert_array_equal(picture.pixels, [[0, 128, 255]])


def test_the_first_of_several_windows_counts() -> None:
    """Further ones are alternatives for other tissue."""
    picture = decode(
        dicom(
            np.array([[0, 10, 20]], np.uint8),
            WindowCenter=[10, 500],
            WindowWidth=[20, 1000],
            VOILUTFunction="LINEAR_EXACT",
        )
    )

    np.testing.assert_array_equal(picture.pixels, [[0, 128, 255]])


def test_a_voi_table_is_applied() -> None:
    """Entries by hand: 0 to 1023, 1 to 512, 2 to 0, of ten bits."""
    picture = decode(
        dicom(
            np.array([[0, 1, 2, 9]], np.uint8),
            VOILUTSequence=lookup_table(0, [1023, 512, 0], bits=10),
        )
    )

    np.testing.assert_array_equal(picture.pixels, [[255, 128, 0, 0]])


def test_a_modality_table_comes_before_the_voi_table() -> None:
    """1 becomes 3, and 3 is the second entry of the VOI table, which starts at 2."""
    picture = decode(
        dicom(
            np.array([[0, 1]], np.uint8),
            ModalityLUTSequence=lookup_table(0, [2, 3]),
            VOILUTSequence=lookup_table(2, [0, 65535]),
        )
    )

    np.testing.assert_array_equal(picture.pixels, [[0, 255]])


def test_a_signed_table_may_start_below_zero() -> None:
    """The first mapped value of signed pixels is signed."""
    picture = decode(
        dicom(np.array([[-5, -4]], np.int16), VOILUTSequence=lookup_table(-5, [65535, 0]))
    )

    np.testing.assert_array_equal(picture.pixels, [[255, 0]])


def test_bytes_of_a_table_in_implicit_form_are_words() -> None:
    """Implicit value representations leave LUT Data as bytes."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [3, 0, 16])
    item.add_new("LUTData", "OW", np.array([0, 32768, 65535], "<u2").tobytes())
    dataset = dicom_dataset(np.array([[0, 1, 2, 2]], np.uint8), VOILUTSequence=[item])

    picture = decode(dicom_file(dataset, ImplicitVRLittleEndian))

    np.testing.assert_array_equal(picture.pixels, [[0, 128, 255, 255]])


def test_bits_above_the_stored_ones_are_masked() -> None:
    """Old files keep overlays there; they must not burn the picture."""
    stored = np.array([[0, 4095], [0xF000, 0x8FFF]], dtype=np.uint16)

    picture = decode(dicom(stored, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096))

    np.testing.assert_array_equal(picture.pixels, [[0, 255], [0, 255]])


def test_signed_samples_of_fewer_bits_are_sign_extended() -> None:
    """Twelve stored bits: 0x0FFF is minus one."""
    stored = np.array([[0x0800, 0x0FFF], [0x0000, 0x07FF]], dtype=np.uint16)

    picture = decode(
        dicom(
            stored,
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=1,
            WindowCenter=0,
            WindowWidth=4096,
            VOILUTFunction="LINEAR_EXACT",
        )
    )

    np.testing.assert_array_equal(picture.pixels, [[0, 127], [128, 255]])


def test_colour_by_plane_equals_colour_by_pixel() -> None:
    """Planar configuration 1 stores all reds first."""
    rgb = np.dstack([gradient(), gradient() // 2, 250 - gradient()])
    by_plane = dicom_dataset(rgb, PlanarConfiguration=1)
    by_plane.PixelData = np.moveaxis(rgb, 2, 0).tobytes()

    np.testing.assert_array_equal(decode(dicom_file(by_plane)).pixels, rgb)
    np.testing.assert_array_equal(decode(dicom(rgb)).pixels, rgb)


def test_a_palette_becomes_colours() -> None:
    """PALETTE COLOR: three tables of 16 bits."""
    tables = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, outputs in {"Red": [0, 65535], "Green": [0, 32768], "Blue": [65535, 0]}.items()
        for part, value in {
            "Descriptor": [2, 0, 16],
            "Data": np.array(outputs, "<u2").tobytes(),
        }.items()
    }

    picture = decode(
        dicom(np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **tables)
    )

    np.testing.assert_array_equal(picture.pixels, [[[0, 0, 255], [255, 128, 0]]])


def test_jpeg_2000_in_dicom_is_lossless_at_sixteen_bits() -> None:
    """What most archives hold."""
    dataset = dicom_dataset(TWELVE, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
    native = decode(dicom_file(dataset))
    codestream = encoded(TWELVE, "JPEG2000", no_jp2=True)
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"

    picture = decode(dicom_file(dataset, JPEG2000Lossless))

    np.testing.assert_array_equal(picture.pixels, native.pixels)


def test_baseline_jpeg_in_dicom_is_read() -> None:
    """Secondary captures and old ultrasound."""
    dataset = dicom_dataset(EIGHT)
    dataset.PixelData = encapsulate([encoded(EIGHT, "JPEG", quality=98)])
    dataset["PixelData"].VR = "OB"

    picture = decode(dicom_file(dataset, JPEGBaseline8Bit))

    np.testing.assert_allclose(picture.pixels.astype(int), EIGHT.astype(int), atol=12)


def test_run_length_coding_in_dicom_is_read() -> None:
    """Lossless, byte plane by byte plane."""
    dataset = dicom_dataset(TWELVE, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
    native = decode(dicom_file(dataset))
    dataset.compress(RLELossless, encoding_plugin="pydicom")

    np.testing.assert_array_equal(decode(dicom_file(dataset, RLELossless)).pixels, native.pixels)


def test_only_the_first_frame_is_read() -> None:
    """A cine loop is not one radiograph."""
    dataset = dicom_dataset(EIGHT, NumberOfFrames=2)
    dataset.PixelData = EIGHT.tobytes() + bytes(EIGHT.size)

    picture = decode(dicom_file(dataset))

    np.testing.assert_array_equal(picture.pixels, EIGHT)
    assert picture.notes == ("Only the first of 2 frames was read.",)


def test_facts_are_read_and_no_patient_is_among_them() -> None:
    """The caller may store and log them."""
    picture = decode(
        dicom(
            EIGHT,
            BodyPartExamined="CHEST",
            ViewPosition="PA",
            PatientOrientation=["L", "F"],
            PixelSpacing=[0.143, 0.15],
            BurnedInAnnotation="NO",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.1",
        )
    )

    facts = picture.dicom
    assert facts is not None
    assert (facts.modality, facts.body_part, facts.view_position) == ("DX", "CHEST", "PA")
    assert facts.patient_orientation == ("L", "F")
    assert facts.pixel_spacing_mm == (0.143, 0.15)
    assert facts.burned_in_annotation is False
    assert (facts.study_instance_uid, facts.series_instance_uid) == ("1.2.3", "1.2.3.1")
    assert facts.sop_instance_uid == "1.2.3.4"
    assert "Doe" not in str(dataclasses.asdict(facts))
    assert "SECRET" not in str(dataclasses.asdict(facts))


def test_the_detectors_spacing_is_told_from_the_patients() -> None:
    """Lengths measured with it are too large by the magnification."""
    facts = decode(dicom(EIGHT, ImagerPixelSpacing=[0.1, 0.1])).dicom

    assert facts is not None
    assert facts.pixel_spacing_mm == (0.1, 0.1)
    assert facts.spacing_at_detector


@pytest.mark.parametrize("spacing", [[0, 0], [-1, 1]])
def test_an_impossible_spacing_is_none(spacing: list[float]) -> None:
    """A length of zero would divide something later."""
    facts = decode(dicom(EIGHT, PixelSpacing=spacing)).dicom

    assert facts is not None
    assert facts.pixel_spacing_mm is None


def test_a_map_of_measurements_is_refused_with_its_reason() -> None:
    """Parametric maps have no brightness of their own."""
    dataset = dicom_dataset(EIGHT, BitsAllocated=32)
    del dataset.PixelData
    dataset.FloatPixelData = np.ones(EIGHT.shape, np.float32).tobytes()

    with pytest.raises(UnsupportedImage, match="map of measurements"):
        decode(dicom_file(dataset))


def test_a_report_is_refused_as_no_picture() -> None:
    """Structured reports are DICOM files as well."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    dataset.Modality = "SR"

    with pytest.raises(UnsupportedImage, match="no picture"):
        decode(dicom_file(dataset))


def test_a_picture_without_pixels_is_refused() -> None:
    """Header-only exports exist."""
    dataset = dicom_dataset(EIGHT)
    del dataset.PixelData

    with pytest.raises(UnsupportedImage, match="no pixel data"):
        decode(dicom_file(dataset))


def test_native_pixels_that_are_cut_short_are_refused() -> None:
    """Nothing is filled up."""
    dataset = dicom_dataset(EIGHT)
    dataset.PixelData = dataset.PixelData[:-64]

    with pytest.raises(UnreadableImage, match="cut short"):
        decode(dicom_file(dataset))


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": 20},
        {"HighBit": 3},
        {"Rows": 0},
        {"Columns": 30_000},
    ],
)
def test_a_header_that_cannot_be_true_is_refused(elements: dict[str, int]) -> None:
    """The sizes are checked before the pixels are."""
    with pytest.raises(UnreadableImage):
        decode(dicom(EIGHT, **elements))


def test_a_coded_frame_of_another_size_is_refused_before_it_is_decoded() -> None:
    """The codestream's own header is what the decoder allocates by."""
    dataset = dicom_dataset(EIGHT)
    dataset.PixelData = encapsulate([encoded(gradient(64, 64), "JPEG2000", no_jp2=True)])
    dataset["PixelData"].VR = "OB"

    with pytest.raises(UnreadableImage, match="disagree"):
        decode(dicom_file(dataset, JPEG2000Lossless))


def test_an_unknown_transfer_syntax_is_unsupported() -> None:
    """Video is DICOM too."""
    dataset = dicom_dataset(EIGHT)
    dataset.PixelData = encapsulate([b"\0" * 64])
    dataset["PixelData"].VR = "OB"

    with pytest.raises(UnsupportedImage, match="transfer syntax"):
        decode(dicom_file(dataset, "1.2.840.10008.1.2.4.102"))


def test_a_deflated_file_that_is_cut_short_is_unreadable() -> None:
    """A partial inflate is no data set."""
    whole = dicom_file(dicom_dataset(EIGHT), DeflatedExplicitVRLittleEndian)

    with pytest.raises(UnreadableImage):
        decode(whole[:-20])


def test_a_damaged_deflate_stream_is_unreadable() -> None:
    """Zlib's own error does not get out."""
    whole = dicom_file(dicom_dataset(EIGHT), DeflatedExplicitVRLittleEndian)

    with pytest.raises(UnreadableImage):
        decode(whole[:-100] + b"\xff" * 100)


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.5",
    ],
)
def test_a_decoder_is_installed_for_every_still_picture_syntax(transfer_syntax: str) -> None:
    """JPEG, lossless JPEG, JPEG-LS, JPEG 2000, HTJ2K and RLE."""
    assert get_decoder(UID(transfer_syntax)).is_available


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_baseline_jpeg_in_colour_comes_out_red_green_blue(photometric: str) -> None:
    """Decoders differ in who turns luma and chroma into colours; it must happen once."""
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 200, 120, 40
    dataset = dicom_dataset(rgb, PhotometricInterpretation=photometric)
    dataset.PixelData = encapsulate([encoded(rgb, "JPEG", quality=98)])
    dataset["PixelData"].VR = "OB"

    pixels = decode(dicom_file(dataset, JPEGBaseline8Bit)).pixels.astype(int)

    np.testing.assert_allclose(pixels, rgb.astype(int), atol=4)


def test_a_coded_frame_in_several_fragments_is_put_together() -> None:
    """Encoders may cut a frame anywhere."""
    codestream = encoded(EIGHT, "JPEG2000", no_jp2=True)
    dataset = dicom_dataset(EIGHT)
    dataset.PixelData = encapsulate([codestream], fragments_per_frame=3)
    dataset["PixelData"].VR = "OB"

    np.testing.assert_array_equal(decode(dicom_file(dataset, JPEG2000Lossless)).pixels, EIGHT)
